"""Least squares from sums that are added up batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-200  # times the smallest ridge it is no denormal yet
CONSTANT = 1e-9  # of the squares that are read: what varies less is rounding


@dataclass(frozen=True)
class LayerFit:
    """A solution, for each of the groups that are fitted by themselves.

    Attributes:
        weight: shape (groups, made, read).
        shift: what is added, shape (groups, made).
        mean, variance: of what the weights make, without the shift, (groups, made).
    """

    weight: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the solution to rows; shape (rows, groups, made)."""
        weight, shift = self.weight.to(x.dtype), self.shift.to(x.dtype)
        return torch.einsum("ngr,gmr->ngm", x, weight) + shift


class Sums:
    """Normal equations in float64.

    Args:
        shape: of the weights, (groups, made, read); groups are fitted by themselves,
            as those of a convolution are.
    """

    def __init__(self, shape: torch.Size) -> None:
        groups, made, read = shape
        self._count = 0
        self._gram = torch.zeros(groups, read, read, dtype=torch.float64)
        self._cross = torch.zeros(groups, read, made, dtype=torch.float64)
        self._x = torch.zeros(groups, read, dtype=torch.float64)
        self._y = torch.zeros(groups, made, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """More rows: shapes (rows, groups, read) and (rows, groups, made)."""
        self._want(x, y)
        x = x.double().transpose(0, 1)
        self._count += x.shape[1]
        self._gram.baddbmm_(x.transpose(1, 2), x)
        self._x += x.sum(1)

    def want(self, parts: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let something else be wanted of the rows that were added, in parts again."""
        self._cross.zero_()
        self._y.zero_()
        for x, y in parts:
            self._want(x, y)

    def _want(self, x: Tensor, y: Tensor) -> None:
        x, y = (item.double().transpose(0, 1) for item in (x, y))
        self._cross.baddbmm_(x.transpose(1, 2), y)
        self._y += y.sum(1)

    @property
    def mean(self) -> Tensor:
        """Return it for the inputs, shape (groups, read)."""
        return self._x / self._count

    @property
    def variance(self) -> Tensor:
        """Return it for the inputs, shape (groups, read)."""
        return self._covariance().diagonal(dim1=1, dim2=2).clamp_min(0)

    def fit(self, start: Tensor, ridge: float, *, shifted: bool) -> LayerFit:
        """The weights that come nearest to what is wanted.

        They minimise, over n rows, |X W + c - Y|^2 / n + ridge * s * |W - start|^2,
        s being the mean of the squares that are read. The ridge keeps weights where
        they were that the rows say nothing of.

        Args:
            start: shape (groups, made, read).
            shifted: there is a shift c; else it is zero.
        """
        x, y = self.mean, self._y / self._count
        gram, cross = self._gram / self._count, self._cross / self._count
        if shifted:
            gram, cross = self._covariance(), cross - x[:, :, None] * y[:, None, :]
        old = start.double().transpose(1, 2)
        power = self._gram.diagonal(dim1=1, dim2=2).mean(1) / self._count
        scale = gram.diagonal(dim1=1, dim2=2).mean(1)
        scale = scale.maximum(CONSTANT * power).clamp_min(TINY)
        held = (ridge * scale)[:, None, None] * torch.eye(gram.shape[1])
        change = torch.linalg.solve(gram + held, cross - gram @ old)
        weight = (old + change).transpose(1, 2)
        mean = (weight @ x[:, :, None])[..., 0]
        variance = ((weight @ self._covariance()) * weight).sum(2).clamp_min(0)
        shift = y - mean if shifted else torch.zeros_like(mean)
        return LayerFit(weight, shift, mean, variance)

    def _covariance(self) -> Tensor:
        x = self.mean
        return self._gram / self._count - x[:, :, None] * x[:, None, :]
