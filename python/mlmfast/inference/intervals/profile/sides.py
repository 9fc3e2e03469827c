"""Following profiles outwards from the estimate, and their crossings of a given zeta."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.inference.intervals.profile.curves import NEAR_ONE, Curves

_ROUNDS = 80
_TOLERANCE = 1e-10
#: A parameter this close to where no covariance matrix is found is there.
_EDGE = 1e-9
#: Shares of the way to an edge at which a profile that stays low has knots.
_WAY = (0.2, 0.4, 0.6, 0.8)


class Knot(NamedTuple):
    """One point of a profile: on the side's scale, the value, |zeta|, its slope, the others."""

    x: float
    value: float
    zeta: float
    slope: float
    point: FloatArray


@dataclass
class Side:
    """A parameter's profile on one side of its estimate, ``sign`` -1 or 1.

    x is a scale on which zeta is nearly straight: log of a standard deviation, atanh of a
    correlation, and the value itself where the estimate lies on an edge. The first knot is the
    estimate; ``edge`` is the value where the parameter's range ends, with |zeta| there; ``wall`` is
    an x where no covariance matrix was found, ``lowest_rise`` the lowest profile deviance met.
    """

    which: int
    sign: float
    kind: str
    scale: str
    knots: list[Knot] = field(default_factory=list)
    edge: tuple[float, float] | None = None
    wall: float = np.inf
    lowest_rise: float = 0.0

    def x_of(self, value: float) -> float:
        """To the scale."""
        if self.scale == "log":
            return float(np.log(value))
        return float(np.arctanh(value)) if self.scale == "atanh" else value

    def value_of(self, x: float) -> float:
        """From the scale."""
        if self.scale == "log":
            return float(np.exp(x))
        return float(np.tanh(x)) if self.scale == "atanh" else x

    def rate(self, value: float) -> float:
        """Derivative of the value by x."""
        if self.scale == "log":
            return value
        return 1.0 - value**2 if self.scale == "atanh" else 1.0

    def around(self, z: float) -> tuple[Knot, Knot | None]:
        """The last knot with |zeta| < z and the first above."""
        below = [knot for knot in self.knots if knot.zeta < z]
        above = [knot for knot in self.knots if knot.zeta >= z]
        return below[-1], above[0] if above else None

    def propose(self, z: float) -> tuple[float, Knot]:
        """Where |zeta| should be z, and the knot to go on from."""
        inner, outer = self.around(z)
        near = inner if outer is None or z - inner.zeta < outer.zeta - z else outer
        distance = self.sign * (near.x - self.knots[0].x) + (z - near.zeta) / near.slope
        low = self.sign * (inner.x - self.knots[0].x)
        if outer is not None:
            high = self.sign * (outer.x - self.knots[0].x)
            if not low < distance < high:
                share = (z - inner.zeta) / (outer.zeta - inner.zeta)
                distance = low + min(max(share, 0.02), 0.98) * (high - low)
        else:
            width = max(z - inner.zeta, 0.2) / max(self.knots[0].slope, 1e-12)
            distance = min(distance, low + 8.0 * width, self._last)
        distance = distance if distance < self.wall else 0.5 * (low + self.wall)
        return self.knots[0].x + self.sign * distance, near

    @property
    def _last(self) -> float:
        """How far x may go: a correlation stays this side of +-1."""
        if self.kind != "correlation":
            return np.inf
        return self.sign * (self.x_of(self.sign * (1.0 - NEAR_ONE)) - self.knots[0].x)

    def add(self, x: float, rise: float, slope: float, point: FloatArray) -> None:
        """Take up an ordinate; an infinite one is a wall."""
        distance = self.sign * (x - self.knots[0].x)
        if not np.isfinite(rise):
            self.wall = min(self.wall, distance)
            return
        self.lowest_rise = min(self.lowest_rise, rise)
        zeta, value = float(np.sqrt(max(rise, 0.0))), self.value_of(x)
        before = [k for k in self.knots if self.sign * (k.x - self.knots[0].x) < distance][-1:]
        by_x = np.nan
        if np.isfinite(slope) and zeta > 1e-4:
            by_x = abs(slope * self.rate(value)) / (2.0 * zeta)
        if not (np.isfinite(by_x) and by_x > 0) and before:
            by_x = (zeta - before[0].zeta) / abs(x - before[0].x)
        by_x = by_x if by_x > 0 else self.knots[0].slope
        self.knots.append(Knot(x, value, zeta, by_x, point))
        self.knots.sort(key=lambda knot: self.sign * knot.x)

    def end(self, z: float) -> float | None:
        """The value at which |zeta| is z, or where the range ends before; None if not found yet."""
        if self.edge is not None and self.edge[1] < z:
            return self.edge[0]
        inner, outer = self.around(z)
        for knot in (inner, outer):
            if knot is not None and abs(knot.zeta - z) < _TOLERANCE * max(1.0, z):
                return knot.value
        near_one = self.kind == "correlation" and self.sign * inner.value > 1.0 - 2 * NEAR_ONE
        if outer is None and near_one:
            return self.sign
        size = max(1.0, abs(inner.x))
        reached = self.sign * (inner.x - self.knots[0].x)
        if outer is None and self.wall - reached < _EDGE * size:
            return inner.value
        if outer is not None and abs(outer.x - inner.x) <= 4e-16 * size:
            return inner.value
        return None


def follow(
    curves: Curves,
    sides: list[Side],
    step: float,
    reach: float,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Knots at about equal distances of zeta, out to ``reach``; ``done`` hears of each round."""
    for k in range(1, n_rounds(step, reach) + 1):
        z = k * step
        _round(curves, [side for side in sides if _open(side, z)], z)
        done()
    _to_edges(curves, [s for s in sides if s.edge is not None and s.edge[1] < reach])


def n_rounds(step: float, reach: float) -> int:
    """How many rounds `follow` takes."""
    return int(np.ceil(reach / step))


def _to_edges(curves: Curves, sides: list[Side]) -> None:
    """Knots from the last one out to where the range ends, at equal distances of the value."""
    rows = [
        (side, side.knots[-1], last + share * (side.edge[0] - last))
        for side in sides
        if side.edge is not None and side.edge[1] > side.knots[-1].zeta
        for last in [side.knots[-1].value]
        for share in _WAY
    ]
    if not rows:
        return
    which = np.array([side.which for side, _, _ in rows], dtype=np.intp)
    values = np.array([value for _, _, value in rows])
    found = curves(which, values, np.stack([knot.point for _, knot, _ in rows]))
    for row, (side, _, value) in enumerate(rows):
        if np.isfinite(found.rise[row]):
            x = side.x_of(value)
            side.add(x, float(found.rise[row]), float(found.slope[row]), found.points[row])


def crossings(curves: Curves, sides: list[Side], z: float) -> list[float]:
    """The value of each side at which |zeta| is z; NaN where it is not found."""
    ends = [side.end(z) for side in sides]
    for _ in range(_ROUNDS):
        todo = [side for side, end in zip(sides, ends, strict=True) if end is None]
        if not todo:
            break
        _round(curves, todo, z)
        ends = [side.end(z) for side in sides]
    return [np.nan if end is None else end for end in ends]


def _open(side: Side, z: float) -> bool:
    return side.knots[-1].zeta < z and side.end(z) is None


def _round(curves: Curves, sides: list[Side], z: float) -> None:
    """One more knot for each side, towards |zeta| = z."""
    if not sides:
        return
    proposals = [side.propose(z) for side in sides]
    values = np.array([side.value_of(x) for side, (x, _) in zip(sides, proposals, strict=True)])
    which = np.array([side.which for side in sides], dtype=np.intp)
    start = np.stack([near.point for _, near in proposals])
    found = curves(which, values, start)
    for row, (side, (x, _)) in enumerate(zip(sides, proposals, strict=True)):
        side.add(x, float(found.rise[row]), float(found.slope[row]), found.points[row])


def new_sides(curves: Curves, which: int) -> list[Side]:
    """Both sides of a parameter; one where the estimate lies on the edge of its range."""
    kind = curves.kinds[which]
    estimate, error = float(curves.estimates[which]), float(curves.standard_errors[which])
    at_edge = _is_at_edge(kind, estimate, error)
    scale = {"sd": "log", "correlation": "atanh"}.get(kind, "plain")
    sides = []
    for sign in (-1.0, 1.0):
        side = Side(which, sign, kind, "plain" if at_edge else scale)
        slope = side.rate(estimate) / error if error > 0 else 1.0
        if side.scale != "plain":
            slope = max(slope, 0.2)
        side.knots.append(Knot(side.x_of(estimate), estimate, 0.0, slope, curves.start[0]))
        edge = curves.edge(which, sign)
        if edge is not None:
            is_here = at_edge and abs(edge[0] - estimate) < 0.5
            side.edge = (edge[0], 0.0 if is_here else _root(edge[1]))
        sides.append(side)
    return sides


def _root(rise: float) -> float:
    return float(np.sqrt(max(rise, 0.0)))


def _is_at_edge(kind: str, estimate: float, error: float) -> bool:
    if kind == "sd":
        return estimate <= 1e-5 * error
    return kind == "correlation" and abs(estimate) > 1.0 - 1e-6
