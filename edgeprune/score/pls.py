"""Which channels a regression from pooled features to labels draws on."""

from __future__ import annotations

import warnings
from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import ScoreError
from edgeprune.score.activations import Seen, consumer_inputs, observe
from edgeprune.score.context import Context

COMPONENTS = 10  # at most
ROUNDING = 1e-9  # of the largest: no more than that is nothing

Array = NDArray[np.floating]


def pls_vip(context: Context) -> dict[str, Tensor]:
    """Variable importance in projection of a partial least squares regression.

    Jordao et al., "Deep Network Compression based on Partial Least Squares", 2018: the
    variables are the channels of all layers at once, each pooled to its mean over
    positions where it is read; the responses are one-hot labels. A channel that is
    read in several places is several variables, and gets the root of the mean of their
    squares. Holds one number for each sample and variable.
    """
    held: defaultdict[tuple[str, int], list[Tensor]] = defaultdict(list)
    sites = consumer_inputs(context)

    def take(name: str, values: Seen) -> None:
        index = sites[name].index(values.site)
        held[name, index].append(values.means)

    labels = observe(context, sites, take)
    features = {key: torch.cat(parts) for key, parts in held.items()}
    widths = [item.shape[1] for item in features.values()]
    x = torch.cat(list(features.values()), 1).double().numpy()
    found = torch.from_numpy(pls_importance(x, one_hot(labels)))
    squares = context.zeros()
    for (name, _), part in zip(features, found.split(widths), strict=True):
        squares[name] += part.square() / len(sites[name])
    return {name: total.sqrt() for name, total in squares.items()}


def pls_importance(x: Array, y: Array) -> Array:
    """VIP of each variable of a PLS regression with at most 10 components.

    Variables are brought to unit variance; one that does not vary has none.

    Args:
        x: shape (N, variables).
        y: shape (N, responses).

    Returns:
        Shape (variables,).
    """
    from sklearn.cross_decomposition import PLSRegression  # slow to import

    x = x - x.mean(0)
    x[:, _constant(x)] = 0
    if not x.any():
        return np.zeros(x.shape[1])
    components = max(1, min(COMPONENTS, _rank(x)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing is left to explain: fewer components
        model = PLSRegression(components).fit(x, y)
    explained = (model.y_loadings_**2).sum(0) * (model.x_scores_**2).sum(0)
    return projection_importance(model.x_weights_**2, explained)


def _constant(x: Array) -> NDArray[np.bool_]:
    """Which of some centred columns differ from zero by rounding only."""
    spread = x.std(0)
    return spread <= ROUNDING * spread.max()


def _rank(x: Array) -> int:
    """Return the rank of a matrix with few rows, from the products of its rows."""
    scaled = x / np.maximum(x.std(0), np.finfo(np.float64).tiny)
    values = np.linalg.eigvalsh(scaled @ scaled.T)
    return int((values > ROUNDING * values[-1]).sum())


def projection_importance(shares: Array, explained: Array) -> Array:
    """Variable importance in projection.

    Mehmood et al., "A review of variable selection methods in partial least squares
    regression", 2012, equation 3. The mean of its squares is 1.

    Args:
        shares: of the variables in the weights of each component, squared; shape
            (variables, components), columns that add up to 1.
        explained: sum of squares of the responses by component, shape (components,).
    """
    total = max(float(explained.sum()), np.finfo(np.float64).tiny)
    return np.sqrt(len(shares) * (shares @ explained) / total)


def one_hot(labels: Tensor) -> Array:
    """Targets as responses: classes as shape (N, those that are there), numbers as are.

    Raises:
        ScoreError: there is only one class.
    """
    if labels.is_floating_point() or labels.ndim > 1:
        return (
            labels.flatten(1).double().numpy()
            if labels.ndim > 1
            else (labels.double().numpy()[:, None])
        )
    classes, numbers = labels.unique(return_inverse=True)
    if len(classes) < 2:
        message = (
            f"All {len(labels)} samples that were read are of one class: labels say "
            "nothing. Is the data set sorted by class?"
        )
        raise ScoreError(message)
    return np.eye(len(classes))[numbers.numpy()]
