"""A network around one function, to try how the function is followed."""

import torch
from torch import nn


class Between(nn.Module):
    """A convolution, a function, and a linear layer over what it leaves."""

    def __init__(self, function, reads, *, vectors=0):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.function = function
        self.head = nn.Linear(reads, 5)
        self.vectors = nn.ParameterList(torch.rand(8) + 0.5 for _ in range(vectors))

    def forward(self, x):
        x = self.function(self.conv(x), *self.vectors)
        return self.head(x.flatten(2).mean(-1) if x.ndim > 2 else x)


def pooled(x):
    return x.mean((2, 3))
