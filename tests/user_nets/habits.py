"""One habit each in which users write networks."""

from collections import OrderedDict, namedtuple

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

Pair = namedtuple("Pair", "scores features")


class SharedTwice(nn.Module):
    """One module called twice: what it reads and what it makes are one."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.shared(self.stem(x)))
        x = F.relu(self.shared(x))
        return self.head(x.mean((2, 3)))


class Functional(nn.Module):
    """Functional convolutions with registered parameters."""

    def __init__(self):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(8, 3, 3, 3) * 0.3)
        self.b1 = nn.Parameter(torch.randn(8) * 0.1)
        self.depth = nn.Parameter(torch.randn(8, 1, 3, 3))
        self.w2 = nn.Parameter(torch.randn(12, 8, 1, 1))
        self.out = nn.Parameter(torch.randn(12, 5))

    def forward(self, x):
        x = F.conv2d(x, self.w1, self.b1, padding=1)
        x = F.conv2d(x, self.depth, padding=1, groups=x.shape[1])
        x = F.gelu(F.conv2d(x, self.w2))
        return x.amax((2, 3)) @ self.out


class Tied(nn.Module):
    """An encoder whose weight is the decoder's, transposed."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.encoder = nn.Linear(6, 10)
        self.again = nn.Linear(6, 10, bias=False)
        self.again.weight = self.encoder.weight
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.stem(x).mean((2, 3))
        code = torch.tanh(self.encoder(x) + self.again(x))
        return self.head(F.linear(code, self.encoder.weight.t()))


class ReusedSequential(nn.Module):
    """A Sequential used for two inputs, another applied layer by layer."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.tail = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(16, 10, 1), act=nn.ReLU6(inplace=True))
        )
        self.head = nn.Linear(10, 5)

    def forward(self, left, right):
        x = torch.cat([self.tower(left), self.tower(right)], 1)
        for layer in self.tail:
            x = layer(x)
        return self.head(x.mean((2, 3)))


class Dicts(nn.Module):
    """A dict in, a dict and a named tuple out."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3, padding=1)
        self.depth = nn.Conv2d(1, 8, 3, padding=1)
        self.fuse = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, batch):
        x = self.image(batch["image"]) + self.depth(batch["depth"])
        features = self.fuse(F.leaky_relu(x))
        scores = self.head(features.flatten(2).mean(-1))
        return {"out": Pair(scores, features.sum(1)), "aux": [scores.softmax(-1)]}


class Buffers(nn.Module):
    """Buffers as long as there are channels, and a constant made in `forward`."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.register_buffer("mean", torch.rand(8, 1, 1))
        self.register_buffer("scale", torch.rand(1, 8, 1, 1), persistent=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = (self.conv(x) - self.mean) * self.scale
        x = x + torch.ones(x.shape[1], 1, 1, dtype=x.dtype) * 0.5
        return self.head(F.relu(x).mean((2, 3)))


class Gated(nn.Module):
    """Gated linear units, by function and by hand."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = F.glu(self.conv(x), dim=1)
        value, gate = self.second(x).chunk(2, dim=1)
        return self.head((value * gate.sigmoid()).mean((2, 3)))


class Signal(nn.Module):
    """One-dimensional and transposed, with weight normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(2, 8, 5, padding=2)
        )
        self.up = nn.ConvTranspose1d(8, 6, 4, 2, 1)
        self.depth = nn.ConvTranspose1d(6, 6, 3, padding=1, groups=6)
        self.drop = nn.Dropout1d(0.2)
        self.out = nn.Conv1d(6, 3, 1)

    def forward(self, x):
        x = F.elu(self.first(x))
        return self.out(self.drop(self.depth(F.elu(self.up(x)))))


class Volume(nn.Module):
    """Three dimensions and a Kronecker-free residual."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(1, 6, 3, padding=1)
        self.block = nn.Sequential(
            nn.Conv3d(6, 8, 3, padding=1),
            nn.BatchNorm3d(8),
            nn.ReLU(),
            nn.Conv3d(8, 6, 1),
        )
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.block(x))
        return self.head(F.avg_pool3d(x, 2).mean((2, 3, 4)))


class Recurrent(nn.Module):
    """Convolution, then an LSTM over the columns (a text reader)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.rnn = nn.LSTM(8, 6, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.conv(x)).mean(2).permute(0, 2, 1)
        return self.head(self.rnn(x)[0])


class Embedded(nn.Module):
    """A learned table added to the features; a skip whose places are learned too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.table = nn.Embedding(4, 8)
        self.offsets = nn.Conv2d(8, 18, 3, padding=1)
        self.deform = torchvision.ops.DeformConv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.conv(x)
        kind = (x.mean((1, 2, 3)) > 0).long()
        x = F.relu(x + self.table(kind)[:, :, None, None])
        return self.head(self.deform(x, self.offsets(x)).mean((2, 3)))


class Gru(nn.Module):
    """Convolution over a signal, then a GRU whose last state is read."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 8, 5, padding=2)
        self.rnn = nn.GRU(8, 6, num_layers=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        _, last = self.rnn(self.conv(x).permute(2, 0, 1))
        return self.head(last[-1])


class Keeping(nn.Module):
    """Keeps what it has seen: a size, and a grid that it makes only once."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.seen = None
        self.grid = None

    def forward(self, x):
        x = self.conv(x)
        self.seen = x.shape[1]
        if self.grid is None:
            self.grid = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
        return self.head(F.relu(x * self.grid).mean((2, 3)))
