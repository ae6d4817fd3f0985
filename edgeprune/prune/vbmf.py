"""How many ranks of a matrix are more than noise, by variational Bayes.

Nakajima, Sugiyama, Babacan and Tomioka, "Global Analytic Solution of Fully-observed
Variational Bayesian Matrix Factorization", JMLR 2013: the empirical solution of
theorem 2, with the noise variance that has the least free energy (theorem 3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

Floats = npt.NDArray[np.float64]
THRESHOLD = 2.5129  # times sqrt(alpha): below it nothing but noise is seen


def rank_of(matrix: Floats) -> int:
    """The number of singular values that are kept; 0 where all is noise.

    Args:
        matrix: shape (L, M), either may be the larger.
    """
    values: Floats = np.linalg.svd(matrix, compute_uv=False).astype(np.float64)
    small, large = sorted(matrix.shape)
    if not values.any():
        return 0
    alpha = small / large
    tau = THRESHOLD * np.sqrt(alpha)
    limit = (1 + tau) * (1 + alpha / tau)
    variance = _noise(values**2, (small, large), limit)
    return int((values**2 > large * variance * limit).sum())


def _noise(squares: Floats, shape: tuple[int, int], limit: float) -> float:
    """The variance of the noise, by the free energy over its possible range."""
    small, large = shape
    alpha = small / large
    most = squares.sum() / (small * large)
    kept = min(int(np.ceil(small / (1 + alpha))) - 1, small - 1)
    least = max(
        squares[kept] / (large * limit), squares[kept:].mean() / large, 1e-12 * most
    )
    if least >= most:
        return float(most)

    def energy(logarithm: float) -> float:
        scaled = np.maximum(squares / (large * np.exp(logarithm)), 1e-300)
        seen = scaled[scaled > limit] - (1 + alpha)
        tau = 0.5 * (seen + np.sqrt(np.maximum(seen**2 - 4 * alpha, 0.0)))
        kept = np.log(tau + 1) + alpha * np.log(tau / alpha + 1) - tau
        return float((scaled - np.log(scaled)).sum() + kept.sum())

    bounds = (np.log(least), np.log(most))
    found = minimize_scalar(energy, bounds=bounds, method="bounded")
    return float(np.exp(found.x))
