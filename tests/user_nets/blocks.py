"""Blocks that the literature has, in networks of a few layers."""

import torch
import torch.nn.functional as F
from torch import nn


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
