"""Label rules of operators, by kind; `graph.operators` is the table of all."""

from edgeprune.graph.rules.call import Call, operator_name, result_shape

__all__ = ["Call", "operator_name", "result_shape"]
