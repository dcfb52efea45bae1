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


# ---------------------------------------------------------------- rectangles and boxes by their measures
def _draw_rectangle(rng: Random, level: int) -> Params:
    """(1, a, b); (2, a, b, w) with a border of width w; (3, 4, a, b); (5, a, b, c) for a box."""
    top = (0, 60, 60, 99, 60, 28)[level]
    sides = [rng.randint(3, top) for _ in range(3 if level == 5 else 2)]
    return (level, *sides, *([rng.randint(1, 12)] if level == 2 else []))


def _state_rectangle(params: Params) -> Statement:
    level, a, b, *n = params
    area, around, square = a * b, 2 * (a + b), a * a + b * b
    if level == 1:
        text = f"A rectangle has perimeter ${around}$, and one of its sides is ${a}$. Find its area."
        terse = f"rectangle perimeter {around} side {a} area"
    elif level == 2:
        text = f"A picture of size ${a}$ by ${b}$ has a frame of width ${n[0]}$. Find the frame's area."
        terse = f"picture {a} by {b} frame {n[0]} area"
    elif level == 3:
        text = f"A rectangle has perimeter ${around}$ and area ${area}$. Find the square of "
        text += "the difference of its sides."
        terse = f"rectangle perimeter {around} area {area} difference^2"
    elif level == 4:
        text = (
            f"The diagonal of a rectangle of perimeter ${around}$ has the square ${square}$. Find its area."
        )
        terse = f"rectangle perimeter {around} diagonal^2={square} area"
    else:
        edges, surface = 4 * (a + b + n[0]), 2 * (a * b + b * n[0] + n[0] * a)
        text = (
            f"The edges of a rectangular box have the total length ${edges}$, and its surface area is "
            f"${surface}$. Find the square of its space diagonal."
        )
        terse = f"box edges {edges} surface {surface} diagonal^2"
    values = (*sorted((a, b)), *n) if level == 2 else sorted(params[1:])
    return Statement(f"{level}:{joined(values)}", text, terse)


def _derive_rectangle(params: Params, work: Derivation) -> int:
    level, a, b, *n = params
    if level == 2:
        border = work.mul(2, n[0])
        return work.sub(work.mul(work.add(a, border), work.add(b, border)), work.mul(a, b))
    if level == 5:
        total = work.div(4 * (a + b + n[0]), 4)
        return work.sub(work.mul(total, total), 2 * (a * b + b * n[0] + n[0] * a))
    half = work.div(2 * (a + b), 2)
    if level == 1:
        return work.mul(a, work.sub(half, a))
    square = work.mul(half, half)
    if level == 3:
        return work.sub(square, work.mul(4, a * b))
    return work.div(work.sub(square, a * a + b * b), 2)


# ---------------------------------------------------------------- painted boxes
def _draw_painted(rng: Random, level: int) -> Params:
    top = (0, 24, 30, 40, 40, 40)[level]
    return (level, *(rng.randint(3, top) for _ in range(3)))


_PAINTED = {2: ("no painted face", "0"), 3: ("exactly one painted face", "1"), 4: ("a painted face", "any")}


def _state_painted(params: Params) -> Statement:
    level, a, b, c = params
    text = f"A wooden box of size ${a}$ by ${b}$ by ${c}$ is painted and cut into unit cubes. "
    if level == 1:
        text, short = f"A box has the size ${a}$ by ${b}$ by ${c}$. Find its surface area.", "surface"
    elif level <= 4:
        what, short = _PAINTED[level]
        text += (
            f"Let $N$ be the number of cubes with {what}. Find the remainder when $N$ is divided by $1000$."
        )
        short += " mod 1000"
    else:
        text += (
            "The probability that a random cube has exactly two painted faces is "
            r"$\frac{m}{n}$ in lowest terms. Find the remainder when $m + n$ is divided by $1000$."
        )
        short = "2 m+n mod 1000"
    return Statement(f"{level}:{joined(sorted(params[1:]))}", text, f"box {a} {b} {c} painted {short}")


def _derive_painted(params: Params, work: Derivation) -> int:
    level, *sides = params
    inner = sides if level == 1 else [work.sub(side, 2) for side in sides]
    if level in (1, 3):
        faces = work.total([work.mul(inner[i], inner[j]) for i, j in ((0, 1), (1, 2), (2, 0))])
        return work.mul(2, faces) if level == 1 else work.mod(work.mul(2, faces), 1000)
    if level == 5:
        return work.mod(work.lowest_terms_sum(work.mul(4, work.total(inner)), work.product(sides)), 1000)
    hidden = work.product(inner)
    return work.mod(work.sub(work.product(sides), hidden) if level == 4 else hidden, 1000)


# ---------------------------------------------------------------- power of a point
def _draw_power_point(rng: Random, level: int) -> Params | None:
    """(level, a, b, c): (1) AP, PB and CP, (2) the same for CD, (3) PA, AB and PC, (4) PT and PA, (5) OP, r
    and AP."""
    a, b, c = rng.randint(2, 40), rng.randint(2, 60), rng.randint(2, 40)
    if level <= 2:
        return (level, a, b, c) if a * b % c == 0 and c not in (a, b) else None
    if level == 3:
        return (3, a, b, c) if a * (a + b) % c == 0 and a * (a + b) > c * c and a != c else None
    if level == 4:
        a, tangent = rng.randint(2, 200), rng.randint(4, 300)
        return (4, tangent, a) if tangent * tangent % a == 0 and tangent > a else None
    distance, radius = sorted((rng.randint(1, 60), rng.randint(3, 70)))
    power = radius * radius - distance * distance
    fits = distance < radius and power % a == 0 and radius - distance < a < radius + distance
    return (5, distance, radius, a) if fits else None


def _state_power_point(params: Params) -> Statement:
    level, a, b, *c = params
    canonical = f"{level}:{joined(params[1:])}"
    if level <= 2:
        asked = ("PD", "CD")[level - 1]
        return Statement(
            canonical=f"{asked}:{joined(sorted((a, b)))},{c[0]}",
            text=f"Chords $AB$ and $CD$ of a circle meet at $P$. If $AP = {a}$, $PB = {b}$ and "
            f"$CP = {c[0]}$, find ${asked}$.",
            terse=f"chords AP={a},PB={b},CP={c[0]},{asked}",
        )
    if level == 3:
        return Statement(
            canonical,
            "From a point $P$ outside a circle one line meets it at $A$, then $B$, another at $C$, then $D$. "
            f"If $PA = {a}$, $AB = {b}$ and $PC = {c[0]}$, find $CD$.",
            f"secants PA={a},AB={b},PC={c[0]},CD",
        )
    if level == 4:
        return Statement(
            canonical,
            f"From a point $P$ a tangent touches a circle at $T$, and a line meets it at $A$, then $B$. "
            f"If $PT = {a}$ and $PA = {b}$, find $AB$.",
            f"tangent PT={a},PA={b},AB",
        )
    return Statement(
        canonical,
        f"A point $P$ has the distance ${a}$ from the center of a circle of radius ${b}$. A chord $AB$ "
        f"passes through $P$ with $AP = {c[0]}$. Find $AB$.",
        f"chord OP={a},r={b},AP={c[0]},AB",
    )


def _derive_power_point(params: Params, work: Derivation) -> int:
    level, a, b, *c = params
    if level <= 2:
        other = work.div(work.mul(a, b), c[0])
        return work.add(c[0], other) if level == 2 else other
    if level == 3:
        return work.sub(work.div(work.mul(a, work.add(a, b)), c[0]), c[0])
    if level == 4:
        return work.sub(work.div(work.mul(a, a), b), b)
    power = work.sub(work.mul(b, b), work.mul(a, a))
    return work.add(c[0], work.div(power, c[0]))


FAMILIES = (
    Family("lattice_polygon", TOPIC, _draw_polygon, _state_polygon, _derive_polygon),
    Family("rectangle", TOPIC, _draw_rectangle, _state_rectangle, _derive_rectangle),
    Family("painted_box", TOPIC, _draw_painted, _state_painted, _derive_painted),
    Family("power_of_point", TOPIC, _draw_power_point, _state_power_point, _derive_power_point),
)
