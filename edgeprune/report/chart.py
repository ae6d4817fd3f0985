"""Charts as plain SVG: lines and points over two axes, and what they need to be read.

A chart is drawn twice, for wide screens and for phones, since text in a picture does
not grow with it; colours are those of the page, so that they follow its light and its
dark form. No script runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

WIDE, NARROW = 760, 340  # pixels
HEIGHT = 340
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 44  # margins
LETTER, LINE = 7.2, 15  # pixels of a letter, about, and of a line of text
GAP = 7  # between a point and its label
TICKS = {WIDE: 7, NARROW: 4}  # at most, about
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
ROOM = 0.06  # of the range, free around what is drawn
COLOURS = 8  # of the page's palette
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        labels: what the points are called; none, or one for each.
        tone: of the page: `before`, `after`, or the number of a colour.
        lined: they are joined.
        dots: they are marked.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str] = ()
    tone: str | int = "after"
    lined: bool = True
    dots: bool = True

    @property
    def colour(self) -> str:
        """Its class on the page."""
        return self.tone if isinstance(self.tone, str) else f"c{self.tone % COLOURS}"


@dataclass(frozen=True)
class Rule:
    """A line from border to border, such as a budget."""

    name: str
    value: float
    upright: bool = False


@dataclass(frozen=True)
class Label:
    """Text at a place; `anchor` is SVG's."""

    x: float
    y: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Chart:
    """Series over two axes.

    Attributes:
        title: what a reader who does not see it is told.
    """

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    rules: tuple[Rule, ...] = ()

    def drawings(self) -> Iterator[Drawing]:
        """For wide screens, and for phones."""
        yield Drawing(self, WIDE)
        yield Drawing(self, NARROW)


@dataclass(frozen=True)
class Drawing:
    """A chart in pixels."""

    chart: Chart
    width: int
    height: int = HEIGHT

    @property
    def kind(self) -> str:
        """Its class on the page."""
        return "for-wide" if self.width == WIDE else "for-narrow"

    @cached_property
    def x_range(self) -> Point:
        """From the least to the largest value, with some room."""
        rules = [item.value for item in self.chart.rules if item.upright]
        return _range([*(x for item in self.chart.series for x in item.x), *rules])

    @cached_property
    def y_range(self) -> Point:
        """The same of the other axis."""
        rules = [item.value for item in self.chart.rules if not item.upright]
        return _range([*(y for item in self.chart.series for y in item.y), *rules])

    @property
    def right(self) -> float:
        """Where the axes end."""
        return self.width - RIGHT

    @property
    def bottom(self) -> float:
        """Where the lower axis lies."""
        return self.height - BOTTOM

    def at(self, x: float, y: float) -> Point:
        """The place of values."""
        return self._along(x), self._up(y)

    def _along(self, x: float) -> float:
        low, high = self.x_range
        return round(LEFT + (x - low) / (high - low) * (self.right - LEFT), 1)

    def _up(self, y: float) -> float:
        low, high = self.y_range
        return round(self.bottom - (y - low) / (high - low) * (self.bottom - TOP), 1)

    def x_ticks(self) -> list[tuple[float, str]]:
        """Places and values."""
        count = TICKS[self.width]
        return [(self._along(v), text) for v, text in ticks(*self.x_range, count)]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and values."""
        return [(self._up(v), text) for v, text in ticks(*self.y_range, 6)]

    def path(self, item: Series) -> str:
        """The line of a series, as SVG's `points`."""
        pairs = (self.at(x, y) for x, y in zip(item.x, item.y, strict=True))
        return " ".join(f"{x:g},{y:g}" for x, y in pairs)

    def dots(self, item: Series) -> list[tuple[float, float, str]]:
        """Places of the points, and what each is."""
        names = item.labels or [item.name] * len(item.x)
        return [
            (*self.at(x, y), f"{name}: {x:.4g}, {y:.4g}")
            for x, y, name in zip(item.x, item.y, names, strict=True)
        ]

    def rules(self) -> list[tuple[float, Rule, Label]]:
        """Where rules lie, and their names."""
        found: list[tuple[float, Rule, Label]] = []
        for rule in self.chart.rules:
            if rule.upright:
                x = self._along(rule.value)
                left = x > (LEFT + self.right) / 2
                place = Label(
                    x - 4 if left else x + 4, TOP + 11, rule.name, _end(left=left)
                )
                found.append((x, rule, place))
            else:
                y = self._up(rule.value)
                found.append((y, rule, Label(LEFT + 4, y - 4, rule.name, "start")))
        return found

    def labels(self) -> list[Label]:
        """Names of points, each where it covers neither points nor other names."""
        taken = [_box(label) for _, _, label in self.rules()]
        for item in self.chart.series:
            for x, y, _ in self.dots(item) if item.dots else ():
                taken.append((x - 5, y - 5, x + 5, y + 5))
        found: list[Label] = []
        for item in self.chart.series:
            for name, x, y in zip(item.labels, item.x, item.y, strict=False):
                label = self._placed(name, *self.at(x, y), taken)
                if label is not None:
                    found.append(label)
                    taken.append(_box(label))
        return found

    def _placed(self, name: str, x: float, y: float, taken: list[Box]) -> Label | None:
        """Beside a point; None where there is no room, and its title must do."""
        for label in (
            Label(x, y - GAP - 2, name),
            Label(x, y + GAP + 11, name),
            Label(x + GAP + 2, y + 4, name, "start"),
            Label(x - GAP - 2, y + 4, name, "end"),
        ):
            box = _box(label)
            inside = box[0] >= LEFT and box[2] <= self.width and box[1] >= TOP
            inside &= box[3] <= self.bottom
            if inside and not any(_overlap(box, other) for other in taken):
                return label
        return None


def ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Round values between two, at most about so many, as text."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in STEPS if power * one >= rough * 0.999)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits += step * 10**digits != round(step * 10**digits)  # of a step of 0.25
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    values = [step * number for number in range(first, last + 1)]
    return [(value, f"{value + 0.0:.{digits}f}") for value in values]


def _range(values: Sequence[float]) -> Point:
    """The range of values, with room around."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low < 1e-9 * max(abs(high), 1.0):
        wide = abs(high) / 10 or 1.0
        return low - wide, high + wide
    room = ROOM * (high - low)
    least = low - room
    return (0.0 if low >= 0 > least else least), high + room


def _end(*, left: bool) -> str:
    return "end" if left else "start"


def _box(label: Label) -> Box:
    """About the pixels that text covers."""
    width = LETTER * len(label.text)
    left = {"start": 0.0, "middle": width / 2, "end": width}[label.anchor]
    return (
        label.x - left,
        label.y - LINE + 4,
        label.x - left + width,
        label.y + 4,
    )


def _overlap(one: Box, other: Box) -> bool:
    apart = one[2] <= other[0] or other[2] <= one[0]
    return not (apart or one[3] <= other[1] or other[3] <= one[1])
