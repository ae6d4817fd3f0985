"""Random small networks: chains of blocks that couple channels in every way."""

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = [nn.ReLU, nn.Sigmoid, nn.Hardswish, nn.SiLU, nn.Tanh]


class Conv(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.norm = nn.BatchNorm2d(out)
        self.act = activation()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.inner = nn.Conv2d(channels, out, 1)
        self.outer = nn.Conv2d(out, channels, 3, padding=1, bias=False)
        self.act = activation()

    def forward(self, x):
        return x + self.outer(self.act(self.inner(x)))


class Concat(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1)
        self.act = activation()

    def forward(self, x):
        return self.act(torch.cat([x, self.conv(x)], dim=1))


class Depthwise(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.point = nn.Conv2d(channels, out, 1)
        self.act = activation()

    def forward(self, x):
        return self.point(self.act(self.depth(x)))


class Grouped(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        groups = 2 if channels % 2 == 0 else 1
        self.conv = nn.Conv2d(channels, 2 * out, 3, padding=1, groups=groups)
        self.act = activation()

    def forward(self, x):
        return self.act(self.conv(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.down = nn.Conv2d(channels, out, 1)
        self.up = nn.Conv2d(out, channels, 1)
        self.act = activation()

    def forward(self, x):
        scale = self.up(self.act(self.down(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(scale)


class Shuffle(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * out, 1)
        self.after = nn.Conv2d(2 * out, out, 1)
        self.act = activation()

    def forward(self, x):
        x = self.act(self.conv(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.after(x)


class Split(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * out, 1)
        self.left = nn.Conv2d(out, out, 3, padding=1)
        self.act = activation()

    def forward(self, x):
        left, right = self.conv(x).chunk(2, dim=1)
        return torch.cat([self.act(self.left(left)), right], dim=1)


class Padded(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels + 2, 3, padding=1)
        self.act = activation()

    def forward(self, x):
        return self.act(self.conv(x) + F.pad(x, (0, 0, 0, 0, 1, 1)))


class Pixels(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out, 1)
        self.act = activation()

    def forward(self, x):
        return F.max_pool2d(self.act(F.pixel_shuffle(self.conv(x), 2)), 2)


class Slopes(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.slope = nn.PReLU(channels)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1) + 0.5)

    def forward(self, x):
        return self.slope(x) * self.scale


class UpDown(nn.Module):
    def __init__(self, channels, out, activation):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, out, 2, stride=2)
        self.act = activation()

    def forward(self, x):
        return F.avg_pool2d(self.act(self.up(x)), 2)


BLOCKS = [
    Conv,
    Residual,
    Concat,
    Depthwise,
    Grouped,
    SqueezeExcite,
    Shuffle,
    Split,
    Padded,
    Pixels,
    Slopes,
    UpDown,
]


class Net(nn.Module):
    """Blocks in a row, then a head behind pooling or flatten."""

    def __init__(self, choices, flatten):
        super().__init__()
        blocks, x = [nn.Conv2d(3, 6, 3, padding=1)], torch.zeros(1, 6, 4, 4)
        for block, out, activation in choices:
            blocks.append(block(x.shape[1], out, activation))
            x = blocks[-1](x)
        self.body = nn.Sequential(*blocks)
        self.flatten = flatten
        self.head = nn.Linear(x.shape[1] * (16 if flatten else 1), 5)

    def forward(self, x):
        x = self.body(x)
        return self.head(x.flatten(1) if self.flatten else x.mean((2, 3)))


@st.composite
def networks(draw):
    """A network in float64 whose batch norms have seen data, and a seed for plans."""
    block = st.tuples(
        st.sampled_from(BLOCKS), st.integers(2, 6), st.sampled_from(ACTIVATIONS)
    )
    choices = draw(st.lists(block, min_size=1, max_size=5))
    seed = draw(st.integers(0, 2**16))
    torch.manual_seed(seed)
    model = Net(choices, draw(st.booleans())).double().eval()
    return disturb_(model), seed


def disturb_(model):
    """Statistics and scales that a trained network might have; no zeros anywhere."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model
