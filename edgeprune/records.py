from dataclasses import dataclass
from collections.abc import Mapping
@dataclass(frozen=True, slots=True)
class Plan:
    kept: Mapping[str, tuple[int, ...]]
