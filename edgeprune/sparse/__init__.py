"""Sparse: which weights become zero, how they are kept so, and what is removed then.

`run` is the whole of it, `methods` the table of what makes the zeros. Add a method: a
`Constraint` in a file of its own and a line in `METHODS`.
"""

from edgeprune.sparse.job import SparseJob, SparseOutcome
from edgeprune.sparse.run import sparsify

__all__ = ["SparseJob", "SparseOutcome", "sparsify"]
