"""Independent solvers for the generated problems: each reads the English statement and searches or simulates.

They share no code and, where they can, no formula with `harness.data.families`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import reduce
from itertools import combinations, product
from math import comb, factorial, isqrt, prod


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
    assert re.fullmatch(r"[-+*()x\d ]+", left + right)
    sides = eval(f"lambda x: ({left}, {right})", {"__builtins__": {}})
    (root,) = [x for x in range(1000) if len(set(sides(x))) == 1]
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


def power_mod(text: str) -> int:
    base, exponent, modulus = numbers(text)
    value = 1
    for _ in range(exponent):
        value = value * base % modulus
    return value


def _exponents(text: str) -> list[tuple[int, int]]:
    return [(int(p), int(e)) for p, e in re.findall(r"(\d+)\^\{(\d+)\}", text)]


def divisors(text: str) -> int:
    pairs = _exponents(text)
    factored = [(p, e * 2 if "n^2" in text else e) for p, e in pairs[:3]]
    every = [1]
    for p, e in factored:
        every = [d * p**i for d in every for i in range(e + 1)]
    if "squares" in text:
        return sum(isqrt(d) ** 2 == d for d in every)
    if "multiples" in text:
        least = prod(p**e for p, e in pairs[3:])
        return sum(d % least == 0 for d in every)
    if "n^2" in text:
        n = prod(p**e for p, e in pairs)
        return sum(d < n and n % d > 0 for d in every)
    return len(every)


def factorial_power(text: str) -> int:
    prime, *n = numbers(text)
    value = factorial(n[0])
    if text.count("!") - ("frac" in text) == 2:
        value *= factorial(n[1])
    if "frac" in text:
        value //= factorial(n[-1])
    return next(k for k in range(10_000) if value % prime ** (k + 1))


def congruences(text: str) -> int:
    n = numbers(text)
    bound = n.pop(0) if "exceeding" in text or "greater" in text else 0
    if "exceeding" in text:
        return sum(x % n[1] == n[0] and x % n[3] == n[2] for x in range(1, bound + 1))
    fits = (x for x in range(1, 10**6) if all(x % m == r for r, m in zip(n[::2], n[1::2], strict=True)))
    return next(x for x in fits if x > bound)


def system(text: str) -> int:
    """Exact elimination (levels 1-4); for products of pairs, a search over integers."""
    formulas = re.findall(r"\$([^$]*)\$", text)
    equations, asked = [formula.split(" = ") for formula in formulas if "=" in formula], formulas[-1]
    if "xy" in text:
        for x in range(1, 1000):
            y, z = Fraction(int(equations[0][1]), x), Fraction(int(equations[2][1]), x)
            if y * z == int(equations[1][1]):
                return int(x * x + y * y + z * z)
    names = "xyz" if "z" in text else "xy"
    rows = [
        [Fraction(_coefficient(left, n)) for n in names] + [Fraction(int(right))] for left, right in equations
    ]
    for i in range(len(names)):
        rows[i:] = sorted(rows[i:], key=lambda row: row[i] == 0)
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for j in range(len(names)):
            if j != i:
                rows[j] = [v - rows[j][i] * u for v, u in zip(rows[j], rows[i], strict=True)]
    return int(sum(_coefficient(asked, n) * rows[i][-1] for i, n in enumerate(names)))


def _coefficient(side: str, name: str) -> int:
    found = re.search(rf"(- )?(\d*){name}", side)
    return 0 if not found else int(found[2] or 1) * (-1 if found[1] else 1)


def roots(text: str) -> int:
    """The roots themselves, as complex numbers, by the Durand-Kerner iteration."""
    equation = re.search(r"\$x\^[^$]* = 0\$", text)
    assert equation
    c = [
        1,
        *(int(s + n) for s, n in re.findall(r"([-+]) (\d+)(?:x\^2|x)?(?= )", equation[0].replace("$", " "))),
    ]
    found = [complex(0.4, 0.9) ** i * 10 for i in range(len(c) - 1)]
    for _ in range(300):
        for i, r in enumerate(found):
            value = reduce(lambda total, a, r=r: total * r + a, c, 0j)
            found[i] = r - value / prod(r - s for j, s in enumerate(found) if j != i)
    if k := re.search(r"\(r \+ (\d+)\)", text):
        return round(prod(r + int(k[1]) for r in found).real)
    value = round(sum(r ** (3 if "r^3" in text else 2) for r in found).real)
    return value % 1000 if "1000" in text else value


def composition(text: str) -> int:
    n = numbers(text)
    if "g(x)" in text:
        functions = {"f": (n[0], n[1]), "g": (n[2], n[3])}
        asked = text.rpartition("$f")[2]
        value = n[4]
        for name in reversed(re.findall("[fg]", "f" + asked)):
            value = functions[name][0] * value + functions[name][1]
        return value
    _, b, modulus, value, times = n
    for _ in range(times):
        value = (value**2 + b) % modulus
    return value


def polynomial(text: str) -> int:
    full = re.search(r"\$(?:P\(x\) = )?([^$]*x\^[^$]*)\$", text)
    assert full
    code = re.sub(r"(\d)x", r"\1*x", full[1].replace("^", "**"))
    if found := re.search(r"P\((\d+)\) - P\((\d+)\)", text):
        return evaluate(code, x=int(found[1])) - evaluate(code, x=int(found[2]))
    points = [int(r) for r in re.findall(r"x - (\d+)", text)]
    if len(points) == 1:
        return evaluate(code, x=points[0])
    r, s = points  # long division by x^2 - (r+s)x + rs
    c = [int(a) for a in re.findall(r"(\d+)(?:x[^+]*)?(?: \+|$)", full[1])]
    while len(c) > 2:
        c = [c[1] + c[0] * (r + s), c[2] - c[0] * r * s, *c[3:]]
    return c[0]


def committee(text: str) -> int:
    """Counts by how many members each group sends."""
    n = numbers(text)[:-1]
    if "committee" not in text:
        counts = [Fraction(1), Fraction(1)]
        for i in range(2):
            for taken in range(n[2 + i]):
                counts[i] *= Fraction(n[i] - taken, taken + 1)
        return int(sum(counts) if " or " in text else prod(counts)) % 1000
    *sizes, k = n
    total = 0
    for sent in product(range(k + 1), repeat=len(sizes)):
        least = 1 if "one student" in text else 2
        allowed = min(sent) >= 1 if "each group" in text else sent[1] >= least
        if sum(sent) == k and allowed:
            total += prod(comb(size, part) for size, part in zip(sizes, sent, strict=True))
    return total % 1000


def solutions(text: str) -> int:
    n, *bounds = numbers(text)[:-1]
    unknowns = 4 if "w" in text.split("$")[3] else 3
    bounds += [n if "le " in text else 0] * (unknowns - len(bounds))
    ways = {0: 1}
    for bound in bounds:
        values = range(min(bound, n) + 1) if r"\le " in text else range(bound if r"\ge" in text else 0, n + 1)
        new: dict[int, int] = {}
        for total, count in ways.items():
            for value in values:
                if total + value <= n:
                    new[total + value] = new.get(total + value, 0) + count
        ways = new
    return ways[n] % 1000


def _lowest_terms_sum(value: Fraction) -> int:
    return value.numerator + value.denominator


def balls(text: str) -> int:
    bag = [colour for size, colour in re.findall(r"\$(\d+)\$ (\w+)", text) for _ in range(int(size))]
    wanted = 3 if "three of" in text else 2
    colours = sorted(set(bag))
    left = {colour: bag.count(colour) for colour in colours}
    good = Fraction(0)
    for drawn in product(colours, repeat=wanted):  # the chance of each order of colours
        chance = Fraction(1)
        for i, colour in enumerate(drawn):
            chance *= Fraction(left[colour] - drawn[:i].count(colour), len(bag) - i)
        kinds = len(set(drawn))
        if "no two" in text:
            good += chance * (kinds == wanted)
        elif "are red" in text:
            good += chance * (set(drawn) == {"red"})
        else:
            good += chance * (kinds == 1)
    return _lowest_terms_sum(good)


def dice(text: str) -> int:
    *sides, k = numbers(text)
    rolls = list(product(*(range(1, n + 1) for n in sides)))
    if "exceeds" in text:
        good = sum(a - b >= k for a, b in rolls)
    else:
        good = sum(sum(roll) <= k if "at most" in text else sum(roll) == k for roll in rolls)
    return _lowest_terms_sum(Fraction(good, len(rolls)))


def rectangle(text: str) -> int:
    n = numbers(text)
    if "picture" in text:
        a, b, w = n
        inside = {(x, y) for x in range(a) for y in range(b)}
        return sum((x, y) not in inside for x in range(-w, a + w) for y in range(-w, b + w))
    if "box" in text:
        edges, surface = n
        for a, b in product(range(1, edges // 4), repeat=2):
            c = edges // 4 - a - b
            if c > 0 and 2 * (a * b + b * c + c * a) == surface:
                return a * a + b * b + c * c
    half = n[0] // 2
    if "one of its sides" in text:
        return n[1] * (half - n[1])
    for a in range(1, half):
        b = half - a
        if "difference" in text and a * b == n[1]:
            return (a - b) ** 2
        if "diagonal" in text and a * a + b * b == n[1]:
            return a * b
    raise AssertionError(text)


def painted_box(text: str) -> int:
    sides = numbers(text)[:3]
    if "surface" in text:
        a, b, c = sides
        return sum(2 * x * y for x, y in ((a, b), (b, c), (c, a)))
    painted: dict[int, int] = {}
    for cube in product(*map(range, sides)):
        faces = sum((at == 0) + (at == size - 1) for at, size in zip(cube, sides, strict=True))
        painted[faces] = painted.get(faces, 0) + 1
    if "probability" in text:
        return _lowest_terms_sum(Fraction(painted[2], prod(sides))) % 1000
    if "no painted" in text:
        return painted[0] % 1000
    return (painted[1] if "exactly one" in text else prod(sides) - painted[0]) % 1000


def power_of_point(text: str) -> int:
    """The whole number that closes the products of the two lines."""
    n = numbers(text)
    if "Chords" in text:
        a, b, c = n
        (d,) = [d for d in range(1, 5000) if c * d == a * b]
        return d if "$PD$" in text else c + d
    if "radius" in text:
        distance, radius, a = n
        # the chord's midpoint lies (AB/2 - AP) from P: OM^2 = r^2 - (AB/2)^2 = OP^2 - (AB/2 - AP)^2
        (chord,) = [c for c in range(1, 2000) if 4 * (radius**2 - distance**2) == c * c - (c - 2 * a) ** 2]
        return chord
    if "tangent" in text:
        (far,) = [x for x in range(1, 2000) if n[1] * (n[1] + x) == n[0] ** 2]
        return far
    (far,) = [x for x in range(1, 2000) if n[2] * (n[2] + x) == n[0] * (n[0] + n[1])]
    return far


def geometric(text: str) -> int:
    n = numbers(text)
    if "infinite" in text:
        first, ratio = Fraction(n[0]), Fraction(n[1], n[2])
        if "squares" in text:
            first, ratio = first**2, ratio**2
        # S = a + r S
        total = _lowest_terms_sum(first / (1 - ratio))
        return total % 1000 if "squares" in text else total
    if "real numbers" in text:
        _, first, _, second, _ = n
        ratio = Fraction(second - first, first)  # of one block of terms to the one before
        return int(first + first * ratio + first * ratio**2)
    first, ratio, terms, modulus = n
    return sum(first * ratio**i for i in range(terms)) % modulus


def recurrence(text: str) -> int:
    found = re.search(r"a_1 = (\d+)\$, \$a_2 = (\d+)\$ and \$a_k = (\d+)a_\{k-1\} \+ (\d+)a_\{k-2\}", text)
    asked = re.search(r"a_\{(\d+)\}\$(?: is divided by \$(\d+))?", text)
    assert found and asked
    first, second, p, q = map(int, found.groups())
    values = [first, second]
    while len(values) < int(asked[1]):
        values.append(p * values[-1] + q * values[-2])
    return values[-1] % int(asked[2] or 10**9)


def telescoping(text: str) -> int:
    n = numbers(text)[:-1]
    if "product" in text:
        first, last = n[2], n[6]
        value = prod((1 - Fraction(1, k * k) for k in range(first, last + 1)), start=Fraction(1))
        return _lowest_terms_sum(value) % 1000
    size = 3 if text.count("cdot ") > 3 else 2
    c, first, step, last = n[0], n[1], n[2 + size] - n[1], n[-size]
    gap = n[2] - n[1]
    terms = (prod(Fraction(1, k + i * gap) for i in range(size)) for k in range(first, last + 1, step))
    return _lowest_terms_sum(c * sum(terms)) % 1000


# ---------------------------------------------------------------- atoms and composites, phrase by phrase
def _phrase(text: str) -> tuple[int, str]:
    """(value, what follows) of the phrase that a text begins with, by counting and searching."""
    if number := re.match(r"\$(\d+)\$", text):
        return int(number[1]), text[number.end() :]
    for head, between, work in _ATOMS:
        if text.startswith(head):
            first, rest = _phrase(text[len(head) :])
            if between is None:
                return work(first, 0), rest
            assert rest.startswith(between), (rest, between)
            second, rest = _phrase(rest[len(between) :])
            return work(first, second), rest
    raise AssertionError(text)


def _left_over(a: int, b: int) -> int:
    while a >= b:
        a -= b
    return a


_ATOMS = (
    ("the product of ", " and ", lambda a, b: sum(a for _ in range(b))),
    ("the remainder when ", " is divided by ", _left_over),
    (
        "the greatest common divisor of ",
        " and ",
        lambda a, b: max(d for d in range(1, a + 1) if a % d == b % d == 0),
    ),
    ("the sum of the digits of ", None, lambda a, _: sum(int(d) for d in str(a))),
    ("the number of positive divisors of ", None, lambda a, _: sum(a % d == 0 for d in range(1, a + 1))),
)


def atom(text: str) -> int:
    assert text.startswith("Find ")
    value, rest = _phrase(text.removeprefix("Find "))
    assert rest == "."
    return value


# ---------------------------------------------------------------- depth
def chain(text: str) -> int:
    start, rest = re.fullmatch(r"Start with \$(\d+)\$ and (.*)\. Find the result\.", text).groups()
    value = int(start)
    for what in rest.split(", "):
        verb, number = re.fullmatch(r"(add|subtract|multiply by) \$(\d+)\$", what).groups()
        value = {"add": value + int(number), "subtract": value - int(number)}.get(verb, value * int(number))
    return value


def dag(text: str) -> int:
    """Substitute until no letter is left in what is asked for."""
    defined = {name: f"({formula})" for name, formula in re.findall(r"\$(\w) = ([^$]*)\$", text)}
    asked = re.search(r"Find \$(\w)\$", text)
    assert asked
    code = asked[1]
    while letters := set(re.findall(r"[a-z]", code.replace(r"\cdot", "*"))):
        for letter in letters:
            code = code.replace(r"\cdot", "*").replace(letter, defined[letter].replace(r"\cdot", "*"))
    return evaluate(code)
