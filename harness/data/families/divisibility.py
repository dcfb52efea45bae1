"""Number theory, second part: powers modulo m, divisors, factorials, simultaneous congruences."""

from __future__ import annotations

import math
from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "number_theory"
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)


# ---------------------------------------------------------------- a power modulo m
def _draw_power_mod(rng: Random, level: int) -> Params:
    """(a, n, m) for the remainder of a^n divided by m."""
    top_base, low, high, top_modulus = {
        1: (30, 3, 8, 30),
        2: (60, 8, 20, 60),
        3: (99, 20, 99, 99),
        4: (999, 100, 999, 299),
        5: (999, 1000, 9999, 999),
    }[level]
    return (rng.randint(2, top_base), rng.randint(low, high), rng.randint(7, top_modulus))


def _state_power_mod(params: Params) -> Statement:
    a, n, m = params
    return Statement(
        canonical=joined(params),
        text=f"Find the remainder when ${a}^{{{n}}}$ is divided by ${m}$.",
        terse=f"{a}^{n} mod {m}",
    )


def _derive_power_mod(params: Params, work: Derivation) -> int:
    """Repeated squaring, from the leading binary digit of n."""
    a, n, m = params
    base = value = work.mod(a, m)
    for bit in bin(n)[3:]:
        value = work.mod(work.mul(value, value), m)
        if bit == "1":
            value = work.mod(work.mul(value, base), m)
    return value


# ---------------------------------------------------------------- divisors
def _draw_divisors(rng: Random, level: int) -> Params:
    """(level, k, primes[k], exponents[k]), at level 4 with the exponents[k] of a second number."""
    count = 2 if level == 1 else 3
    primes = sorted(rng.sample(_PRIMES, count))
    low, high = {1: (2, 8), 2: (2, 5), 3: (2, 15), 4: (3, 11), 5: (2, 7)}[level]
    exponents = [rng.randint(low, high) for _ in primes]
    least = [rng.randint(1, exponent - 1) for exponent in exponents] if level == 4 else []
    return (level, count, *primes, *exponents, *least)


def _factored(primes: Params, exponents: Params) -> tuple[str, str]:
    pairs = list(zip(primes, exponents, strict=True))
    full = r" \cdot ".join(f"{p}^{{{e}}}" for p, e in pairs)
    return full, "*".join(f"{p}^{e}" for p, e in pairs)


def _state_divisors(params: Params) -> Statement:
    level, count, *rest = params
    primes, exponents = tuple(rest[:count]), tuple(rest[count : 2 * count])
    full, terse = _factored(primes, exponents)
    kind = {3: "square divisors", 4: "multiple divisors", 5: "small divisors"}.get(level, "divisors")
    canonical = f"{kind}:{joined(rest)}"
    head = "Find the number of positive divisors of"
    if level <= 2:
        return Statement(canonical, f"{head} ${full}$.", f"divisors of {terse}")
    if level == 3:
        return Statement(
            canonical, f"{head} ${full}$ that are perfect squares.", f"square divisors of {terse}"
        )
    if level == 4:
        other, other_terse = _factored(primes, tuple(rest[2 * count :]))
        return Statement(
            canonical,
            f"{head} ${full}$ that are multiples of ${other}$.",
            f"divisors of {terse} multiple of {other_terse}",
        )
    text = (
        f"Let $n = {full}$. Find the number of positive divisors of $n^2$ that are less than $n$ but do not "
    )
    return Statement(canonical, text + "divide $n$.", f"n={terse}, divisors of n^2 below n not of n")


def _derive_divisors(params: Params, work: Derivation) -> int:
    level, count, *rest = params
    exponents = rest[count : 2 * count]
    if level == 3:
        return work.product([work.add(work.quotient(exponent, 2), 1) for exponent in exponents])
    if level == 4:
        least = rest[2 * count :]
        return work.product([work.add(work.sub(e, low), 1) for e, low in zip(exponents, least, strict=True)])
    divisors = work.product([work.add(exponent, 1) for exponent in exponents])
    if level <= 2:
        return divisors
    square = work.product([work.add(work.mul(2, exponent), 1) for exponent in exponents])
    below = work.div(work.sub(square, 1), 2)  # n^2 pairs its divisors d and n^2/d around n
    return work.sub(below, work.sub(divisors, 1))


# ---------------------------------------------------------------- the exponent of a prime in factorials
def _draw_factorial(rng: Random, level: int) -> Params | None:
    """(p, count above, n..., below...): p in the product of n! over the product of the other factorials."""
    prime = rng.choice(_PRIMES[1:10])
    low, high = {1: (20, 250), 2: (300, 2000), 3: (200, 999), 4: (100, 999), 5: (300, 999)}[level]
    above = sorted(rng.randint(low, high) for _ in range(2 if level >= 4 else 1))
    below = [rng.randint(50, above[0] - 1)] if level in (3, 5) else []
    if above[0] < prime * prime or (level >= 4 and above[0] == above[1]):
        return None
    return (prime, len(above), *above, *below)


def _state_factorial(params: Params) -> Statement:
    prime, count, *n = params
    above, below = n[:count], n[count:]
    full = r" \cdot ".join(f"{value}!" for value in above)
    terse = "*".join(f"{value}!" for value in above) + "".join(f"/{value}!" for value in below)
    if below:
        full = rf"\frac{{{full}}}{{{below[0]}!}}"
    return Statement(
        canonical=f"{prime}:{joined(sorted(above))}:{joined(below)}",
        text=f"Find the largest integer $k$ for which ${prime}^k$ divides ${full}$.",
        terse=f"power of {prime} in {terse}",
    )


def _legendre(work: Derivation, n: int, prime: int) -> int:
    """The integer parts of n/p, n/p^2, ... added up."""
    parts = []
    while n >= prime:
        n = work.quotient(n, prime)
        parts.append(n)
    return work.total(parts) if parts else 0


def _derive_factorial(params: Params, work: Derivation) -> int:
    prime, count, *n = params
    above = work.total([_legendre(work, value, prime) for value in n[:count]])
    return work.sub(above, _legendre(work, n[count], prime)) if n[count:] else above


# ---------------------------------------------------------------- simultaneous congruences
def _draw_congruences(rng: Random, level: int) -> Params | None:
    """(level, bound, m, r, m, r, ...): the least solution, (4) the least above the bound, (5) those up to
    it."""
    low, high = {1: (3, 12), 2: (8, 31), 3: (3, 11), 4: (5, 20), 5: (5, 30)}[level]
    moduli = sorted(rng.sample(range(low, high + 1), 3 if level == 3 else 2), reverse=True)
    if any(math.gcd(a, b) > 1 for i, a in enumerate(moduli) for b in moduli[:i]):
        return None
    pairs = [value for m in moduli for value in (m, rng.randint(1, m - 1))]
    bound = {4: rng.randint(400, 900), 5: rng.randint(2000, 60000)}.get(level, 0)
    return (level, bound, *pairs)


def _state_congruences(params: Params) -> Statement:
    level, bound, *n = params
    pairs = list(zip(n[::2], n[1::2], strict=True))
    what = [f"${r}$ when divided by ${m}$" for m, r in pairs]
    head = {4: f"Find the least integer greater than ${bound}$ that"}.get(
        level, "Find the least positive integer that"
    )
    verb = "leaves"
    if level == 5:
        head, verb = f"Find the number of positive integers not exceeding ${bound}$ that", "leave"
    terse = ",".join(f"x mod {m}={r}" for m, r in pairs)
    ending = {4: f" least above {bound}", 5: f" in 1..{bound}"}.get(level, " least")
    return Statement(
        canonical=f"{ending}:" + ";".join(f"{m},{r}" for m, r in sorted(pairs)),
        text=f"{head} {verb} a remainder of {', '.join(what[:-1])} and {what[-1]}.",
        terse=terse + ending,
    )


def _combine(work: Derivation, r: int, m: int, s: int, q: int) -> int:
    """The least x = r mod m with x = s mod q, as r + m*k with k = (s-r)/m modulo q."""
    step = work.mod(m, q)
    inverse = next((i for i in range(1, q) if i * step % q == 1), 1)
    if step != 1:
        work.mod(work.mul(step, inverse), q)
    ahead = work.sub(work.add(s, q), work.mod(r, q))
    k = work.mod(work.mul(ahead, inverse), q)
    return work.add(r, work.mul(m, k))


def _derive_congruences(params: Params, work: Derivation) -> int:
    level, bound, m, x, *rest = params
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    for i, (q, s) in enumerate(pairs):
        x = _combine(work, x, m, s, q)
        if level >= 4 or i + 1 < len(pairs):
            m = work.mul(m, q)
    if level <= 3:
        return x
    if x > bound:
        return x if level == 4 else 0
    more = work.add(work.quotient(work.sub(bound, x), m), 1)
    return more if level == 5 else work.add(x, work.mul(m, more))


FAMILIES = (
    Family("power_mod", TOPIC, _draw_power_mod, _state_power_mod, _derive_power_mod),
    Family("divisors", TOPIC, _draw_divisors, _state_divisors, _derive_divisors),
    Family("factorial_power", TOPIC, _draw_factorial, _state_factorial, _derive_factorial),
    Family("congruences", TOPIC, _draw_congruences, _state_congruences, _derive_congruences),
)
