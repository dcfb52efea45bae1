"""Algebra: linear equations and systems, roots of polynomials, composed functions."""

from __future__ import annotations

import math
from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "algebra"


# ---------------------------------------------------------------- one linear equation
def _draw_linear(rng: Random, level: int) -> Params | None:
    """(1, a, b, c): ax+b=c; (2, a, b, c, d): ax+b=cx+d; (3, ...): a(x+b)=c(x+d);
    (4, ..., e): a(x+b)+c(x+d)=e; (5, ..., e, f): a(x+b)+c(x+d)=e(x+f)."""
    x = rng.randint(2, (0, 40, 40, 99, 400, 999)[level])
    a, c = rng.sample(range(2, (0, 10, 13, 20, 30, 40)[level]), 2)
    b, d = rng.sample(range(1, (0, 50, 60, 90, 99, 99)[level]), 2)
    if level == 1:
        return (1, a, b, a * x + b)
    if level == 4:
        return (4, a, b, c, d, a * (x + b) + c * (x + d))
    if a < c or (level == 5 and x > 500):
        return None
    if level == 2:
        d = (a - c) * x + b
        return (2, a, b, c, d)
    if level == 3:  # c*d - a*b = (a-c)*x
        numerator = (a - c) * x + a * b
        return (3, a, b, c, numerator // c) if numerator % c == 0 else None
    e = rng.randint(2, a + c - 1)
    numerator = (a + c - e) * x + a * b + c * d
    return (5, a, b, c, d, e, numerator // e) if numerator % e == 0 else None


def _linear_sides(params: Params) -> tuple[list[str], list[str]]:
    """The terms of the left and of the right side."""
    level, *n = params
    if level == 1:
        return [f"{n[0]}x", str(n[1])], [str(n[2])]
    if level == 2:
        return [f"{n[0]}x", str(n[1])], [f"{n[2]}x", str(n[3])]
    brackets = [f"{n[i]}(x+{n[i + 1]})" for i in range(0, len(n) - 1, 2)]
    if level == 4:
        return brackets, [str(n[4])]
    return brackets[:-1], brackets[-1:]


def _state_linear(params: Params) -> Statement:
    left, right = _linear_sides(params)
    sides = sorted("+".join(sorted(side)) for side in (left, right))
    if params[0] == 1:  # 6x+10=52 is 3x+5=26
        common = math.gcd(*params[1:])
        sides = ["ax+b=c", joined(n // common for n in params[1:])]
    full = " = ".join(" + ".join(side) for side in (left, right)).replace("(x+", "(x + ")
    return Statement(
        canonical="=".join(sides),
        text=f"Find the value of $x$ for which ${full}$.",
        terse="solve " + "=".join("+".join(side) for side in (left, right)),
    )


def _derive_linear(params: Params, work: Derivation) -> int:
    level, *n = params
    if level == 1:
        return work.div(work.sub(n[2], n[1]), n[0])
    if level == 2:
        difference = work.sub(n[3], n[1])
        return work.div(difference, work.sub(n[0], n[2]))
    if level == 3:
        difference = work.sub(work.mul(n[2], n[3]), work.mul(n[0], n[1]))
        return work.div(difference, work.sub(n[0], n[2]))
    constant = work.add(work.mul(n[0], n[1]), work.mul(n[2], n[3]))
    coefficient = work.add(n[0], n[2])
    if level == 4:
        return work.div(work.sub(n[4], constant), coefficient)
    difference = work.sub(work.mul(n[4], n[5]), constant)
    return work.div(difference, work.sub(coefficient, n[4]))


FAMILIES = (Family("linear_equation", TOPIC, _draw_linear, _state_linear, _derive_linear, mini=True),)
