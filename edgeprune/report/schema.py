"""The JSON schema of report.json; `python -m edgeprune.report.schema` prints it."""

from __future__ import annotations

import json
import sys

from pydantic import TypeAdapter

from edgeprune.records import RunReport


def report_schema() -> str:
    """The schema as JSON text; fields that earlier versions lack are not required."""
    schema = TypeAdapter(RunReport).json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "report.json of edgeprune"
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(report_schema())
