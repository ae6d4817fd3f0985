"""Networks as users write them, one for each habit that a graph core must bear."""

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


class SuperResolution(nn.Module):
    """Pixel shuffle inside and at the end, pixel unshuffle in front."""

    def __init__(self):
        super().__init__()
        self.down = nn.PixelUnshuffle(2)
        self.conv = nn.Conv2d(12, 16, 3, padding=1)
        self.up = nn.PixelShuffle(2)
        self.last = nn.Conv2d(4, 12, 3, padding=1)

    def forward(self, x):
        x = self.up(F.relu(self.conv(self.down(x))))
        return F.pixel_shuffle(self.last(x), 2)


class SqueezeExcite(nn.Module):
    """Channel gates: a squeeze by views, and CBAM's mean and maximum over channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
        self.second = nn.Conv2d(8, 10, 3, padding=1)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)
        self.head = nn.Linear(10, 5)

    def forward(self, x):
        x = F.relu(self.conv(x))
        b, c, _, _ = x.size()
        gate = self.fc(F.adaptive_avg_pool2d(x, 1).view(b, c))
        x = F.relu(self.second(x * gate.view(b, c, 1, 1).sigmoid()))
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return self.head((x * self.spatial(both).sigmoid()).mean((2, 3)))


class EfficientAttention(nn.Module):
    """A one-dimensional convolution along the channels (ECA)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.eca = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.second = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.conv(x)
        y = self.eca(x.mean((2, 3), keepdim=True).squeeze(-1).transpose(-1, -2))
        x = x * y.transpose(-1, -2).unsqueeze(-1).sigmoid()
        return self.head(F.relu(self.second(x)).mean((2, 3)))


class Pyramid(nn.Module):
    """ASPP: dilated branches and a pooled one, resized and joined."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 6, 3, padding=rate, dilation=rate), nn.ReLU())
            for rate in (1, 2)
        )
        self.pooled = nn.Conv2d(8, 6, 1)
        self.project = nn.Conv2d(18, 10, 1)
        self.classes = nn.Conv2d(10, 4, 1)

    def forward(self, x):
        size = x.shape[-2:]
        x = F.relu(self.stem(x))
        found = [branch(x) for branch in self.branches]
        pooled = self.pooled(F.adaptive_avg_pool2d(x, 1))
        found.append(F.interpolate(pooled, size=x.shape[-2:], mode="nearest"))
        x = F.dropout(self.project(torch.cat(found, 1)), 0.1, self.training)
        return F.interpolate(self.classes(x), size=size, mode="bilinear")


class Inception(nn.Module):
    """Branches of unequal width, pooled ones too."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 4, 1)
        self.three = nn.Sequential(nn.Conv2d(8, 6, 1), nn.Conv2d(6, 10, 3, padding=1))
        self.pool = nn.Conv2d(8, 5, 1)
        self.norm = nn.BatchNorm2d(19)
        self.head = nn.Linear(19, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        pooled = self.pool(F.max_pool2d(x, 3, 1, 1))
        x = torch.cat((self.one(x), self.three(x), pooled), dim=1)
        return self.head(F.relu(self.norm(x)).mean((2, 3)))


class UNet(nn.Module):
    """Skips across, transposed convolution up."""

    def __init__(self):
        super().__init__()
        self.down1 = nn.Conv2d(3, 8, 3, padding=1)
        self.down2 = nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.merge = nn.Conv2d(16, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        first = F.relu(self.down1(x))
        second = F.relu(self.down2(F.max_pool2d(first, 2)))
        up = self.up(second)
        rows = first.size(2) - up.size(2)
        up = F.pad(up, (0, rows, 0, rows))
        return self.out(F.relu(self.merge(torch.cat([first, up], 1))))


class Einsum(nn.Module):
    """Bilinear pooling, attention and a projection by einsum."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.query = nn.Conv2d(8, 6, 1, bias=False)
        self.key = nn.Conv2d(8, 6, 1, bias=False)
        self.value = nn.Conv2d(8, 10, 1)
        self.mix = nn.Parameter(torch.randn(10, 7))
        self.head = nn.Linear(7, 5)

    def forward(self, x):
        x = F.relu(self.conv(x))
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.einsum("bcn,bcm->bnm", q, k).softmax(-1)
        x = torch.einsum("bnm,b c m -> bnc", weights, v)
        return self.head(torch.einsum("...c,cd->...d", x.mean(1), self.mix))


class Heads(nn.Module):
    """Attention whose heads are a number that the module holds."""

    def __init__(self, width=12, heads=4, inner=16):
        super().__init__()
        self.num_heads = heads
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.qkv = nn.Linear(width, 3 * inner)
        self.proj = nn.Linear(inner, width)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(y.transpose(1, 2).flatten(2))
        return self.head(x.mean(1))


class LayerNorms(nn.Module):
    """Channels last and layer norm over them; group and instance norm."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.LayerNorm(12)
        self.wide = nn.Linear(12, 24)
        self.narrow = nn.Linear(24, 12)
        self.second = nn.Conv2d(12, 32, 3, padding=1)
        self.groups = nn.GroupNorm(8, 32)
        self.third = nn.Conv2d(32, 10, 3, padding=1)
        self.instance = nn.InstanceNorm2d(10, affine=True)
        self.fourth = nn.Conv2d(10, 8, 3, padding=1)
        self.few = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(x.permute(0, 2, 3, 1))
        x = x + self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        x = F.silu(self.groups(self.second(x)))
        x = F.silu(self.instance(self.third(x)))
        return self.head(self.few(self.fourth(x)).mean((2, 3)))


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


class SelectiveKernel(nn.Module):
    """Two kernels weighed against each other for every channel (SK)."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, k, padding=k // 2) for k in (3, 5))
        self.squeeze = nn.Linear(8, 4)
        self.weigh = nn.Linear(4, 16)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        found = torch.stack([conv(x) for conv in self.convs], dim=1)
        z = F.relu(self.squeeze(found.sum(1).mean((2, 3))))
        weights = self.weigh(z).view(x.size(0), 2, -1).softmax(dim=1)
        return self.head((found * weights[..., None, None]).sum(1).mean((2, 3)))


class Partial(nn.Module):
    """A convolution on the first channels only (FasterNet), by a held number."""

    def __init__(self):
        super().__init__()
        self.touched = 4
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.partial = nn.Conv2d(4, 4, 3, padding=1)
        self.point = nn.Conv2d(12, 10, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        rest = x.shape[1] - self.touched
        first, second = torch.split(x, [self.touched, rest], dim=1)
        x = torch.cat([self.partial(first), second], 1)
        return self.head(F.relu(self.point(x)).mean((2, 3)))


class Scales(nn.Module):
    """Parts of a held width, one after the other (Res2Net); halves of another (CSP)."""

    def __init__(self):
        super().__init__()
        self.width, self.both = 3, 12
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.wide = nn.Conv2d(6, 12, 1)
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        left, right = self.stem(x).split(self.both // 2, dim=1)
        parts = torch.split(F.relu(self.wide(left * right)), self.width, 1)
        found = []
        for part, conv in zip(parts, self.convs, strict=False):
            found.append(conv(part + found[-1] if found else part))
        return self.head(torch.cat([*found, parts[-1]], 1).mean((2, 3)))


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


class Shuffled(nn.Module):
    """A channel shuffle by views, groups a number that stands in the code."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 12, 3, padding=1, groups=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.second(F.relu(self.first(x)))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.head(F.relu(x).mean((2, 3)))


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


def image(channels=3, size=8, batch=2):
    return torch.randn(batch, channels, size, size)


# network, inputs, {group: (channels, positions each)}, groups that are approximate
NETWORKS = {
    "shared": (SharedTwice, lambda: (image(),), {"stem": (8, 1)}, ()),
    "functional": (Functional, lambda: (image(),), {"w1": (8, 1), "w2": (12, 1)}, ()),
    "tied": (Tied, lambda: (image(),), {"stem": (6, 1), "encoder": (10, 1)}, ()),
    "reused": (
        ReusedSequential,
        lambda: (image(), image()),
        {"tower.0": (8, 1), "tail.conv": (10, 1)},
        (),
    ),
    "dicts": (
        Dicts,
        lambda: ({"image": image(), "depth": image(1)},),
        {"image": (8, 1), "fuse": (12, 1)},
        ("fuse",),
    ),
    "buffers": (Buffers, lambda: (image(),), {"conv": (8, 1)}, ()),
    "gated": (Gated, lambda: (image(),), {"conv": (8, 2), "second": (6, 2)}, ()),
    "shuffled-pixels": (SuperResolution, lambda: (image(),), {"conv": (4, 4)}, ()),
    "squeeze": (
        SqueezeExcite,
        lambda: (image(),),
        {"conv": (8, 1), "fc.0": (4, 1), "second": (10, 1)},
        ("second",),
    ),
    "eca": (
        EfficientAttention,
        lambda: (image(),),
        {"conv": (8, 1), "second": (6, 1)},
        ("conv",),
    ),
    "scales": (
        Scales,
        lambda: (image(),),
        {"stem": (6, 2), "wide": (3, 4), "convs.2": (3, 1)},
        (),
    ),
    "aspp": (
        Pyramid,
        lambda: (image(),),
        {
            "stem": (8, 1),
            "branches.0.0": (6, 1),
            "branches.1.0": (6, 1),
            "pooled": (6, 1),
            "project": (10, 1),
        },
        (),
    ),
    "inception": (
        Inception,
        lambda: (image(),),
        {
            "stem": (8, 1),
            "one": (4, 1),
            "three.0": (6, 1),
            "three.1": (10, 1),
            "pool": (5, 1),
        },
        (),
    ),
    "unet": (
        UNet,
        lambda: (image(size=9),),
        {"down1": (8, 1), "down2": (16, 1), "up": (8, 1), "merge": (8, 1)},
        (),
    ),
    "einsum": (
        Einsum,
        lambda: (image(),),
        {"conv": (8, 1), "query": (6, 1), "value": (10, 1), "mix": (7, 1)},
        (),
    ),
    "heads": (Heads, lambda: (image(),), {"stem": (12, 1), "qkv": (4, 12)}, ()),
    "norms": (
        LayerNorms,
        lambda: (image(),),
        {
            "stem": (12, 1),
            "wide": (24, 1),
            "second": (8, 4),
            "third": (10, 1),
            "fourth": (4, 2),
        },
        ("stem", "fourth"),
    ),
    "signal": (
        Signal,
        lambda: (torch.randn(2, 2, 16),),
        {"first.parametrizations.weight": (8, 1), "up": (6, 1)},
        (),
    ),
    "volume": (
        Volume,
        lambda: (torch.randn(2, 1, 4, 4, 4),),
        {"stem": (6, 1), "block.0": (8, 1)},
        (),
    ),
    "recurrent": (Recurrent, lambda: (image(),), {"conv": (8, 1)}, ()),
    "selective": (
        SelectiveKernel,
        lambda: (image(),),
        {"convs.0": (8, 1), "squeeze": (4, 1)},
        (),
    ),
    "keeping": (Keeping, lambda: (image(),), {"conv": (8, 1)}, ()),
    "embedded": (
        Embedded,
        lambda: (image(),),
        {"conv": (8, 1), "deform": (6, 1)},
        ("conv",),
    ),
    "gru": (Gru, lambda: (torch.randn(2, 2, 16),), {"conv": (8, 1)}, ()),
    "partial": (
        Partial,
        lambda: (image(),),
        {"stem": (4, 1), "stem#2": (8, 1), "partial": (4, 1), "point": (10, 1)},
        (),
    ),
    "shuffle": (Shuffled, lambda: (image(),), {"first": (6, 2), "second": (6, 2)}, ()),
}
