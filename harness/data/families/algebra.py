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
    x = rng.randint(2, (0, 12, 15, 99, 400, 999)[level])
    a, c = rng.sample(range(2, (0, 10, 13, 20, 30, 40)[level]), 2)
    b, d = rng.sample(range(1, (0, 51, 51, 90, 99, 99)[level]), 2)
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


# ---------------------------------------------------------------- systems of equations
def _draw_system(rng: Random, level: int) -> Params | None:
    """(level, x, y[, z], coefficients...); the coefficients of levels 2 and 3 are (a, b, c, d)."""
    x, y, z = (rng.randint(2, (0, 400, 300, 400, 150, 25)[level]) for _ in range(3))
    if level == 1:
        return (1, x, y) if x > y else None
    if level >= 4:
        return (level, x, y, z) if len({x, y, z}) == 3 else None
    a, b, c, d = (rng.randint(2, 20) for _ in range(4))
    if level == 2:
        return (2, x, y, a, c) if a > c else None
    positive = a * d > b * c and math.gcd(a * d, b * c) < a * d
    return (3, x, y, a, b, c, d) if positive else None


def _state_system(params: Params) -> Statement:
    level, x, y, *n = params
    if level == 1:
        equations, asked = [("x + y", x + y), ("x - y", x - y)], "x"
    elif level == 2:
        equations, asked = [(f"{n[0]}x + y", n[0] * x + y), (f"{n[1]}x + y", n[1] * x + y)], "x + y"
    elif level == 3:
        a, b, c, d = n
        equations = [(f"{a}x + {b}y", a * x + b * y), (f"{c}x + {d}y", c * x + d * y)]
        asked = "x + y"
    elif level == 4:
        equations, asked = [("x + y", x + y), ("y + z", y + n[0]), ("z + x", n[0] + x)], "x + 2y + 3z"
    else:
        equations, asked = [("xy", x * y), ("yz", y * n[0]), ("zx", n[0] * x)], "x^2 + y^2 + z^2"
    listed = ", ".join(f"${left} = {right}$" for left, right in equations[:-1])
    terse = ";".join(f"{left}={right}" for left, right in equations).replace(" ", "")
    values = sorted(params[1:]) if level == 5 else params[1:]
    who = "Real numbers $x$ and $y$" if level <= 3 else "Positive real numbers $x$, $y$ and $z$"
    return Statement(
        canonical=f"{level}:{joined(values)}",
        text=f"{who} satisfy {listed} and ${equations[-1][0]} = {equations[-1][1]}$. Find ${asked}$.",
        terse=f"{terse} find {asked.replace(' ', '')}",
    )


def _derive_system(params: Params, work: Derivation) -> int:
    level, x, y, *n = params
    if level == 1:
        return work.div(work.add(x + y, x - y), 2)
    if level == 2:
        first, second = n[0] * x + y, n[1] * x + y
        x = work.div(work.sub(first, second), work.sub(n[0], n[1]))
        return work.add(x, work.sub(first, work.mul(n[0], x)))
    if level == 3:
        a, b, c, d = n
        first, second = a * x + b * y, c * x + d * y
        top = work.sub(work.mul(first, d), work.mul(second, b))
        x = work.div(top, work.sub(work.mul(a, d), work.mul(b, c)))
        return work.add(x, work.div(work.sub(first, work.mul(a, x)), b))
    z = n[0]
    if level == 4:
        half = work.div(work.total([x + y, y + z, z + x]), 2)
        x, y, z = work.sub(half, y + z), work.sub(half, z + x), work.sub(half, x + y)
        return work.total([x, work.mul(2, y), work.mul(3, z)])
    xy, yz, zx = x * y, y * z, z * x
    return work.total([work.div(work.mul(p, q), r) for p, q, r in ((xy, zx, yz), (xy, yz, zx), (yz, zx, xy))])


# ---------------------------------------------------------------- symmetric functions of roots
def _draw_roots(rng: Random, level: int) -> Params | None:
    """(level, p, q[, w]): x^2 - px + q, or x^3 - px^2 + qx - w; at level 2 w is the k of (r+k)(s+k)."""
    top_p, top_q = {1: (34, 99), 2: (40, 99), 3: (60, 99), 4: (34, 99), 5: (18, 60)}[level]
    p, q = rng.randint(3, top_p), rng.randint(2, top_q)
    w = [] if level in (1, 3) else [rng.randint(2, 20)]
    sign = {1: p * p - 2 * q, 3: p * p - 3 * q, 4: p * p - 2 * q}.get(level, p**3 + 3 * sum(w) - 3 * p * q)
    return (level, p, q, *w) if level == 2 or sign >= 0 else None


def _state_roots(params: Params) -> Statement:
    level, p, q, *w = params
    if level <= 3:
        equation, names = f"x^2 - {p}x + {q} = 0", "$r$ and $s$"
        asked = ("r^2 + s^2", f"(r + {w[0] if w else 0})(s + {w[0] if w else 0})", "r^3 + s^3")[level - 1]
    else:
        equation, names = f"x^3 - {p}x^2 + {q}x - {w[0]} = 0", "$r$, $s$ and $t$"
        asked = "r^2 + s^2 + t^2" if level == 4 else "r^3 + s^3 + t^3"
    terse = f"roots of {equation}: {asked}".replace(" + ", "+").replace(" - ", "-").replace(" = 0", "")
    find = f"Find ${asked}$."
    if level == 3:
        find, terse = f"Find the remainder when ${asked}$ is divided by $1000$.", f"{terse} mod 1000"
    return Statement(
        canonical=f"{level}:{joined(params[1:3] if level == 4 else params[1:])}",
        text=f"The equation ${equation}$ has the complex roots {names}. {find}",
        terse=terse,
    )


def _derive_roots(params: Params, work: Derivation) -> int:
    """Vieta's formulas, then Newton's identities."""
    level, p, q, *w = params
    if level == 2:  # rs + k(r+s) + k^2
        return work.total([q, work.mul(w[0], p), work.mul(w[0], w[0])])
    if level in (1, 4):
        return work.sub(work.power(p, 2), work.mul(2, q))
    cube, mixed = work.power(p, 3), work.mul(work.mul(3, p), q)
    if level == 3:
        return work.mod(work.sub(cube, mixed), 1000)
    return work.sub(work.add(cube, work.mul(3, w[0])), mixed)


# ---------------------------------------------------------------- composed functions
def _draw_composition(rng: Random, level: int) -> Params:
    """(level, a, b, c, d, k): f = ax+b, g = cx+d at k; from level 3 (level, b, m, n, k): x^2+b modulo m, n
    times."""
    if level <= 2:
        a, c = rng.randint(2, 9), rng.randint(2, 9)
        return (level, a, rng.randint(1, 30), c, rng.randint(1, 30), rng.randint(2, 20))
    top, times = {3: (40, (3, 4)), 4: (150, (5, 7)), 5: (999, (8, 12))}[level]
    modulus = rng.randint(top // 3, top)
    return (level, rng.randint(1, 30), modulus, rng.randint(*times), rng.randint(2, modulus - 1))


def _state_composition(params: Params) -> Statement:
    level, *n = params
    if level <= 2:
        a, b, c, d, k = n
        asked = f"f(g({k}))" if level == 1 else f"f(g(f({k})))"
        return Statement(
            canonical=f"{level}:{joined(n)}",
            text=f"Let $f(x) = {a}x + {b}$ and $g(x) = {c}x + {d}$. Find ${asked}$.",
            terse=f"f={a}x+{b};g={c}x+{d};{asked}",
        )
    b, modulus, times, k = n
    return Statement(
        canonical=f"square:{joined(n)}",
        text=f"For an integer $x$ let $f(x)$ be the remainder when $x^2 + {b}$ is divided by ${modulus}$. "
        f"Starting with ${k}$, the function $f$ is applied ${times}$ times. Find the result.",
        terse=f"f=x^2+{b} mod {modulus};x={k};{times} times",
    )


def _derive_composition(params: Params, work: Derivation) -> int:
    level, *n = params
    if level <= 2:
        a, b, c, d, x = n
        for slope, constant in [(a, b)] * (level == 2) + [(c, d), (a, b)]:
            x = work.add(work.mul(slope, x), constant)
        return x
    b, modulus, times, x = n
    for _ in range(times):
        x = work.mod(work.add(work.mul(x, x), b), modulus)
    return x


# ---------------------------------------------------------------- remainders of polynomials
def _draw_polynomial(rng: Random, level: int) -> Params:
    """(level, r, s, coefficients...), leading one first; s is 0 below level 4."""
    degree, top = {1: (2, 5), 2: (3, 3), 3: (4, 5), 4: (3, 6), 5: (4, 6)}[level]
    s = rng.randint(1, top - 2) if level >= 4 else 0
    largest = {1: 10, 2: 7}.get(level, 12)
    return (level, rng.randint(s + 2, top), s, *(rng.randint(2, largest) for _ in range(degree + 1)))


def _state_polynomial(params: Params) -> Statement:
    level, r, s, *c = params
    powers = [f"{a}x^{len(c) - 1 - i}" for i, a in enumerate(c[:-2])]
    full = " + ".join([*powers, f"{c[-2]}x", str(c[-1])])
    terse = full.replace(" ", "")
    canonical = f"{min(level, 3) if level < 4 else level}:{joined(params[1:])}"
    if level <= 3:
        text = f"Find the remainder when ${full}$ is divided by $x - {r}$."
        return Statement(f"single:{joined(params[1:])}", text, f"{terse} mod x-{r}")
    if level == 4:
        text = f"Let $P(x) = {full}$. Find $P({r}) - P({s})$."
        return Statement(canonical, text, f"P={terse};P({r})-P({s})")
    text = f"The remainder when ${full}$ is divided by $(x - {r})(x - {s})$ is $ux + v$. Find $u$."
    return Statement(canonical, text, f"{terse} mod (x-{r})(x-{s})=ux+v find u")


def _derive_polynomial(params: Params, work: Derivation) -> int:
    """Horner's scheme at each point."""
    level, r, s, *c = params
    values = []
    for point in (r,) if level <= 3 else (r, s):
        value = c[0]
        for a in c[1:]:
            value = work.add(work.mul(value, point), a)
        values.append(value)
    if level <= 3:
        return values[0]
    difference = work.sub(*values)
    return work.div(difference, work.sub(r, s)) if level == 5 else difference


FAMILIES = (
    Family("linear_equation", TOPIC, _draw_linear, _state_linear, _derive_linear),
    Family("system", TOPIC, _draw_system, _state_system, _derive_system),
    Family("roots", TOPIC, _draw_roots, _state_roots, _derive_roots),
    Family("composition", TOPIC, _draw_composition, _state_composition, _derive_composition),
    Family("polynomial", TOPIC, _draw_polynomial, _state_polynomial, _derive_polynomial),
)
