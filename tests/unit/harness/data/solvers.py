"""Independent solvers for the generated problems: each reads the English statement and searches or simulates.

They share no code and, where they can, no formula with `harness.data.families`.
"""

from __future__ import annotations

import re
from itertools import combinations


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def plain(text: str) -> str:
    r"""The first formula between dollars as Python: `\cdot` to *, `^{n}` to **n, 3x and 3( to 3*x and 3*(."""
    formula = re.search(r"\$([^$]*)\$", text)
    assert formula
    code = formula[1].replace(r"\cdot", "*").replace("^", "**").replace("{", "(").replace("}", ")")
    return re.sub(r"(\d)([x(])", r"\1*\2", code)


def evaluate(code: str, **names: int) -> int:
    assert re.fullmatch(r"[-+*/()x\d ]+", code), code
    return eval(code, {"__builtins__": {}}, names)


def remainder(text: str) -> int:
    return evaluate(plain(text)) % numbers(text)[-1]


def gcd(text: str) -> int:
    if "^" in text:  # the gcd is at most 1000: its divisors are the numbers that divide both
        first, second = (evaluate(plain(f"${part}$")) for part in re.findall(r"\$([^$]*)\$", text))
        return max(d for d in range(1, 1001) if first % d == 0 and second % d == 0)
    values = numbers(text)
    return max(d for d in range(1, min(values) + 1) if all(v % d == 0 for v in values))


def digit_sum(text: str) -> int:
    return sum(int(digit) for digit in str(evaluate(plain(text))))


def linear_equation(text: str) -> int:
    left, right = plain(text.replace("$x$", "x")).split("=")
    (root,) = [x for x in range(1000) if evaluate(left, x=x) == evaluate(right, x=x)]
    return root


def multiples(text: str) -> int:
    top, *n = numbers(text)
    if "remainder" in text:
        return sum(x % n[1] == n[0] for x in range(1, top + 1))
    hits = sum(any(x % m == 0 for m in n) for x in range(1, top + 1))
    return top - hits if "neither" in text else hits


def league(text: str) -> int:
    if "divisions" not in text:
        teams, each, more = numbers(text)
        games = sum(each for _ in combinations(range(teams), 2))
        return games + (more * teams if "Each team" in text else more)
    n = numbers(text)
    more = n.pop() if "more" in text else 0
    *sizes, within, across = n
    division = [i for i, size in enumerate(sizes) for _ in range(size)]
    return more + sum(within if a == b else across for a, b in combinations(division, 2))


def lattice_polygon(text: str) -> int:
    """By Pick's theorem: 2A = 2i + b - 2, counting the points inside and on the boundary."""
    flat = numbers(text)
    points = list(zip(flat[::2], flat[1::2], strict=True))
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    inside = border = 0
    for x in range(max(flat) + 1):
        for y in range(max(flat) + 1):
            sides = [(u - a) * (y - b) - (v - b) * (x - a) for (a, b), (u, v) in edges]
            inside += all(side > 0 for side in sides)
            border += all(side >= 0 for side in sides) and any(side == 0 for side in sides)
    return 2 * inside + border - 2


def arithmetic(text: str) -> int:
    n = numbers(text)
    if "common difference" in text:
        return list(range(n[0], 10**6, n[1]))[n[2] - 1]
    if "ends with" in text:
        terms, first, last = n
        (step,) = [d for d in range(1, last) if first + (terms - 1) * d == last]
        return sum(range(first, last + 1, step))
    if "cdots" in text:
        return sum(range(n[0], n[2] + 1, n[1] - n[0]))
    if text.startswith("Terms"):
        i, j, first, second, k = n
        (step,) = [d for d in range(1, second) if first + (j - i) * d == second]
        value = second
        for _ in range(k - j):
            value += step
        return value
    first, second, low, high, modulus = n
    return sum(list(range(first, 10**6, second - first))[low - 1 : high]) % modulus
