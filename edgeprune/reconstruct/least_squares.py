"""Least squares from sums that are added up batch by batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

TINY = 1e-200  # times the smallest ridge it is no denormal yet
CONSTANT = 1e-9  # of the squares that are read: what varies less is rounding
BLOCK, BLOCKS = 96, 6  # the smallest one of a product, and how many at most
SURE = 1e-6  # share of sums of squares that float32 tells from none
LARGE = 1024  # numbers that a filter reads


@dataclass(frozen=True)
class LayerFit:
    """A solution, for each of the groups that are fitted by themselves.

    Attributes:
        weight: shape (groups, made, read).
        shift: what is added, shape (groups, made).
    """

    weight: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the solution to rows; shape (rows, groups, made)."""
        weight, shift = self.weight.to(x.dtype), self.shift.to(x.dtype)
        return torch.einsum("ngr,gmr->ngm", x, weight) + shift


class LeastSquares:
    """The weights that come nearest to what is wanted of some rows.

    They minimise, over n rows, |X W + c - Y|^2 / n + ridge * s * |W - start|^2, s being
    the mean of the squares that are read. The ridge keeps weights where they were that
    the rows say nothing of.

    Products are in the format of the rows, of differences from the first rows' means,
    or in float64 where the ridge asks for more; sums are in float64. Few rows at a time
    cost more than many: the sums of a large filter are larger than any cache.

    Args:
        start: shape (groups, made, read); groups are fitted by themselves, as those of
            a convolution are.
        shifted: there is a shift c; else it is zero.
    """

    def __init__(self, start: Tensor, ridge: float, *, shifted: bool) -> None:
        groups, made, read = start.shape
        self._start = start.double().transpose(1, 2)
        self._ridge, self._shifted = ridge, shifted
        self._count = 0
        self._middle: tuple[Tensor, Tensor] | None = None
        zeros = partial(torch.zeros, dtype=torch.float64, device=start.device)
        self._gram, self._cross = zeros(groups, read, read), zeros(groups, read, made)
        self._x, self._y = zeros(groups, read), zeros(groups, made)

    def add(self, x: Tensor, y: Tensor) -> None:
        """More rows: shapes (rows, groups, read) and (rows, groups, made)."""
        if self._middle is None:
            self._middle = x.mean(0), y.mean(0)
        x, y = self._centred(x, y)
        self._want(x, y)
        self._count += x.shape[1]
        self._add_products(x)
        self._x += x.sum(1, dtype=torch.float64)

    def _add_products(self, x: Tensor) -> None:
        """Add those of what is read, the upper triangle in blocks, then mirrored."""
        read = x.shape[2]
        each = max(BLOCK, -(-read // BLOCKS))
        for start in range(0, read, each):
            own = slice(start, start + each)
            part = x[:, :, own].transpose(1, 2) @ x[:, :, start:]
            self._gram[:, own, start:] += part
            rest = part[:, :, each:]
            self._gram[:, start + each :, own] += rest.transpose(1, 2)

    def want(self, parts: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Let something else be wanted of the rows that were added, in parts again."""
        self._cross.zero_()
        self._y.zero_()
        for x, y in parts:
            self._want(*self._centred(x, y))

    def _centred(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        assert self._middle is not None  # rows were added
        pairs = zip((x, y), self._middle, strict=True)
        exact = torch.float64 if self._ridge < SURE else x.dtype
        x, y = ((rows.to(exact) - middle).transpose(0, 1) for rows, middle in pairs)
        return x, y

    def _want(self, x: Tensor, y: Tensor) -> None:
        self._cross += x.transpose(1, 2) @ y
        self._y += y.sum(1, dtype=torch.float64)

    @cached_property
    def mean(self) -> Tensor:
        """Return it for the inputs, shape (groups, read)."""
        assert self._middle is not None  # rows were added
        return self._x / self._count + self._middle[0]

    @property
    def variance(self) -> Tensor:
        """Return it for the inputs, shape (groups, read)."""
        return self._covariance.diagonal(dim1=1, dim2=2).clamp_min(0)

    def fit(self) -> LayerFit:
        """Solve for what is wanted now."""
        assert self._middle is not None  # rows were added
        x = self._x / self._count
        off = self._y / self._count
        cross = self._cross / self._count - x[:, :, None] * off[:, None, :]
        y = off + self._middle[1]
        if not self._shifted:
            cross += self.mean[:, :, None] * y[:, None, :]
        weight = (self._start + self._solved(cross - self._before)).transpose(1, 2)
        mean = (weight @ self.mean[:, :, None])[..., 0]
        return LayerFit(weight, y - mean if self._shifted else torch.zeros_like(mean))

    def moments(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of what weights make, without a shift, (groups, made)."""
        mean = (weight @ self.mean[:, :, None])[..., 0]
        variance = ((weight @ self._covariance) * weight).sum(2).clamp_min(0)
        return mean, variance

    @cached_property
    def _covariance(self) -> Tensor:
        x = self._x / self._count
        return self._gram / self._count - x[:, :, None] * x[:, None, :]

    @cached_property
    def _squares(self) -> Tensor:
        """What the weights are multiplied by; shape (groups, read, read)."""
        if self._shifted:
            return self._covariance
        return self._covariance + self.mean[:, :, None] * self.mean[:, None, :]

    @cached_property
    def _before(self) -> Tensor:
        """The products with the start; shape (groups, read, made)."""
        return self._squares @ self._start

    def _solved(self, right: Tensor) -> Tensor:
        """Solve the equations for a right side, shape (groups, read, made)."""
        factor, failed = self._factor
        if failed.any():
            return torch.linalg.lu_solve(*torch.linalg.lu_factor(self._held), right)
        found = torch.cholesky_solve(right.to(factor.dtype), factor)
        return found.double()

    @cached_property
    def _factor(self) -> tuple[Tensor, Tensor]:
        """The Cholesky factor, shape (groups, read, read), and what failed.

        Of a large filter in float32, in which its sums were multiplied: what is solved
        for is a correction, and the factor itself is exact.
        """
        factor, failed = torch.linalg.cholesky_ex(self._held)
        large = factor.shape[1] >= LARGE and self._ridge >= SURE
        return factor.float() if large else factor, failed

    @cached_property
    def _held(self) -> Tensor:
        """What the weights are multiplied by, with the ridge."""
        power = (self.variance + self.mean.square()).mean(1)
        scale = self._squares.diagonal(dim1=1, dim2=2).mean(1)
        scale = scale.maximum(CONSTANT * power).clamp_min(TINY)
        held = self._squares.clone()
        held.diagonal(dim1=1, dim2=2).add_((self._ridge * scale)[:, None])
        return held
