"""Geometry: areas, lengths and angles that come out as integers or as fractions in lowest terms."""

from __future__ import annotations

import math
from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "geometry"


# ---------------------------------------------------------------- twice the area of a lattice polygon
def _points(params: Params) -> list[tuple[int, int]]:
    return list(zip(params[::2], params[1::2], strict=True))


def _cross_sum(points: list[tuple[int, int]]) -> int:
    """Twice the signed area (the shoelace formula)."""
    pairs = zip(points, points[1:] + points[:1], strict=True)
    return sum(x * v - y * u for (x, y), (u, v) in pairs)


def _is_convex(points: list[tuple[int, int]]) -> bool:
    count = len(points)
    turns = [_cross_sum([points[i], points[(i + 1) % count], points[(i + 2) % count]]) for i in range(count)]
    return all(turn > 0 for turn in turns)


def _draw_polygon(rng: Random, level: int) -> Params | None:
    """The vertices in counterclockwise order, (x1, y1, x2, y2, ...); up to level 2 the first is the
    origin."""
    top = (0, 12, 30, 25, 22, 20)[level]
    if level <= 2:
        points = [(0, 0), *((rng.randint(1, top), rng.randint(1, top)) for _ in range(2))]
    else:
        points = [(rng.randint(1, top), rng.randint(1, top)) for _ in range(level)]
        middle = (sum(x for x, _ in points) / level, sum(y for _, y in points) / level)
        points.sort(key=lambda p: math.atan2(p[1] - middle[1], p[0] - middle[0]))
    if not _is_convex(points):
        return None
    return tuple(value for point in points for value in point)


def _polygon_canonical(points: list[tuple[int, int]]) -> str:
    """Least over the eight symmetries of the lattice, translations and the choice of the first vertex."""
    forms = []
    for swap in (False, True):
        for sx in (1, -1):
            for sy in (1, -1):
                moved = [(sx * (y if swap else x), sy * (x if swap else y)) for x, y in points]
                left, low = min(x for x, _ in moved), min(y for _, y in moved)
                shifted = [(x - left, y - low) for x, y in moved]
                if (sx * sy < 0) != swap:
                    shifted.reverse()
                first = shifted.index(min(shifted))
                forms.append(shifted[first:] + shifted[:first])
    return ";".join(joined(point) for point in min(forms))


def _state_polygon(params: Params) -> Statement:
    points = _points(params)
    listed = ", ".join(f"$({x},{y})$" for x, y in points[:-1]) + " and $({},{})$".format(*points[-1])
    shape = {3: "triangle", 4: "quadrilateral", 5: "pentagon"}[len(points)]
    return Statement(
        canonical=_polygon_canonical(points),
        text=f"A {shape} has vertices {listed}, in this order. Find twice its area.",
        terse="twice area " + ";".join(joined(point) for point in points),
    )


def _derive_polygon(params: Params, work: Derivation) -> int:
    """The shoelace formula; products with a zero coordinate are left out."""
    points = _points(params)
    pairs = list(zip(points, points[1:] + points[:1], strict=True))
    plus = work.total([work.mul(x, v) for (x, _), (_, v) in pairs if x and v])
    minus = work.total([work.mul(y, u) for (_, y), (u, _) in pairs if y and u])
    return work.sub(plus, minus)


FAMILIES = (Family("lattice_polygon", TOPIC, _draw_polygon, _state_polygon, _derive_polygon, mini=True),)
