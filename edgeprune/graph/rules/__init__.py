"""What operators do to channel labels, by kind; the table is `graph.operators`."""

from edgeprune.graph.rules.call import Call, operator_name, result_shape

__all__ = ["Call", "operator_name", "result_shape"]
