"""Number theory: remainders, greatest common divisors, digits, powers, divisors, factorials."""

from __future__ import annotations

import math
from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "number_theory"

# ---------------------------------------------------------------- remainder of a sum of products
_SHAPES = {1: (2,), 2: (2, 1), 3: (2, 2), 4: (3, 2), 5: (3, 3)}  # factors in each product, by level
_MODULI = {1: (5, 9), 2: (5, 9), 3: (11, 40), 4: (30, 99), 5: (101, 999)}


def _products(params: Params) -> list[Params]:
    """params = (level, modulus, factors...): the factors, grouped into products."""
    groups, rest = [], params[2:]
    for size in _SHAPES[params[0]]:
        groups.append(rest[:size])
        rest = rest[size:]
    return groups


def _draw_remainder(rng: Random, level: int) -> Params | None:
    modulus = rng.randint(*_MODULI[level])
    low, top = {1: (2, 50), 2: (2, 30), 3: (11, 99), 4: (11, 999), 5: (11, 999)}[level]
    factors = [rng.randint(low, top) for _ in range(sum(_SHAPES[level]))]
    if level == 2:
        factors[-1] = rng.randint(2, 9)
    if level == 1 and math.gcd(modulus, math.prod(factors)) > 1:  # else a guess of 0 would be right too often
        return None
    return (level, modulus, *factors)


def _state_remainder(params: Params) -> Statement:
    groups = _products(params)
    full = " + ".join(r" \cdot ".join(map(str, group)) for group in groups)
    terse = "+".join("*".join(map(str, group)) for group in groups)
    canonical = "+".join(sorted(joined(sorted(group)) for group in groups))
    return Statement(
        canonical=f"{canonical} mod {params[1]}",
        text=f"Find the remainder when ${full}$ is divided by ${params[1]}$.",
        terse=f"{terse} mod {params[1]}",
    )


def _derive_remainder(params: Params, work: Derivation) -> int:
    modulus, terms = params[1], []
    for group in _products(params):
        first, *rest = [work.mod(factor, modulus) if len(group) > 1 else factor for factor in group]
        for i, factor in enumerate(rest):
            first = work.mul(first, factor)
            if i + 1 < len(rest):
                first = work.mod(first, modulus)
        terms.append(first)
    return work.mod(work.total(terms), modulus)


# ---------------------------------------------------------------- greatest common divisor
_GCD_TOP = {1: 190, 2: 200, 3: 999, 4: 999}
_GCD_STEPS = {1: 3, 2: 3, 3: 6, 4: 10, 5: 12}  # longest derivation that a level may ask for


def _draw_gcd(rng: Random, level: int) -> Params | None:
    """(0, a, b[, c]), or at level 5 (k, a, b) for gcd(k^a - 1, k^b - 1)."""
    if level == 5:
        base, step = rng.randint(2, 9), rng.randint(2, 9)
        a, b = rng.sample(range(5, 60), 2)
        if base ** (step * math.gcd(a, b)) > 1000:
            return None
        params: Params = (base, a * step, b * step)
    else:  # common factors are drawn first: most pairs drawn freely have gcd 1 or 2
        top = _GCD_TOP[level]
        common = rng.randint(2, 12 * level)
        params = (0, *(common * n for n in rng.sample(range(2, top // common + 1), 2 + (level == 4))))
    work = Derivation()
    _derive_gcd(params, work)
    return params if len(work.steps) <= _GCD_STEPS[level] else None


def _state_gcd(params: Params) -> Statement:
    base, *numbers = params
    if base:
        names = [f"{base}^{{{n}}} - 1" for n in numbers]
        terse = ",".join(f"{base}^{n}-1" for n in numbers)
    else:
        names, terse = [str(n) for n in numbers], joined(numbers)
    listed = ", ".join(f"${name}$" for name in names[:-1]) + f" and ${names[-1]}$"
    return Statement(
        canonical=f"{base}:{joined(sorted(numbers))}",
        text=f"Find the greatest common divisor of {listed}.",
        terse=f"gcd({terse})",
    )


def _derive_gcd(params: Params, work: Derivation) -> int:
    base, *numbers = params
    common = numbers[0]
    for number in numbers[1:]:
        common = work.euclid(common, number)
    return work.sub(work.power(base, common), 1) if base else common


# ---------------------------------------------------------------- sum of digits
def _draw_digit_sum(rng: Random, level: int) -> Params:
    """(level, a, b[, c]); at level 5 (5, n, a) for 10^n - a."""
    if level == 1:
        return (1, rng.randint(11, 99), rng.randint(11, 99))
    if level == 2:
        return (2, rng.randint(11, 40), rng.randint(2, 5), rng.randint(11, 60))
    if level == 3:
        return (3, rng.randint(11, 99), rng.randint(11, 99), rng.randint(100, 999))
    if level == 4:
        return (4, rng.randint(101, 999), rng.randint(101, 999), rng.randint(1000, 99999))
    return (5, rng.randint(10, 110), rng.randint(101, 999))


def _state_digit_sum(params: Params) -> Statement:
    level, *numbers = params
    if level == 1:
        a, b = numbers
        full, terse, canonical = f"{a} + {b}", f"{a}+{b}", "+" + joined(sorted(numbers))
    elif level < 5:
        a, b, c = numbers
        full, terse = rf"{a} \cdot {b} + {c}", f"{a}*{b}+{c}"
        canonical = f"*{joined(sorted((a, b)))}+{c}"
    else:
        n, a = numbers
        full, terse, canonical = f"10^{{{n}}} - {a}", f"10^{n}-{a}", f"10^{n}-{a}"
    return Statement(canonical, f"Find the sum of the digits of ${full}$.", f"digits({terse})")


def _derive_digit_sum(params: Params, work: Derivation) -> int:
    level, *numbers = params
    if level == 1:
        return work.total(map(int, str(work.add(*numbers))))
    if level < 5:
        a, b, c = numbers
        return work.total(map(int, str(work.add(work.mul(a, b), c))))
    n, a = numbers  # 10^n - a is n-3 nines followed by the three digits of 1000-a
    nines = work.mul(9, work.sub(n, 3))
    return work.total([nines, *map(int, str(work.sub(1000, a)))])


FAMILIES = (
    Family("remainder", TOPIC, _draw_remainder, _state_remainder, _derive_remainder),
    Family("gcd", TOPIC, _draw_gcd, _state_gcd, _derive_gcd),
    Family("digit_sum", TOPIC, _draw_digit_sum, _state_digit_sum, _derive_digit_sum),
)
