"""Teach edgeprune an operator that it does not know.

python -m examples.own_operator
"""

import torch
from torch import Tensor, nn

import edgeprune


@torch.library.custom_op("examples::soft_step", mutates_args=())
def soft_step(x: Tensor) -> Tensor:
    """An activation in one kernel of its own."""
    return x * torch.sigmoid(4 * x)


@soft_step.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Net(nn.Module):
    """Two convolutions with the activation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.second = nn.Conv2d(16, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (N, 8)."""
        return self.second(soft_step(self.first(x))).mean((2, 3))


def main() -> None:
    """What could be pruned before and after."""
    inputs = (torch.randn(1, 3, 16, 16),)
    before = edgeprune.survey(Net().eval(), inputs)
    print(f"{len(before.groups)} groups; {before.refusals[0].reason}")
    edgeprune.register_operator("soft_step", like="relu")
    after = edgeprune.survey(Net().eval(), inputs)
    print(f"{len(after.groups)} groups of {[group.size for group in after.groups]}")


if __name__ == "__main__":
    main()
