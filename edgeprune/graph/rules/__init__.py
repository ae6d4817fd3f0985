"""What each ATen operator does to channel labels: rules by kind, and one table."""

from edgeprune.graph.rules.call import Call, operator_name, result_shape
from edgeprune.graph.rules.table import RULES, Rule, rule_for

__all__ = [
    "RULES",
    "Call",
    "Rule",
    "operator_name",
    "result_shape",
    "rule_for",
]
