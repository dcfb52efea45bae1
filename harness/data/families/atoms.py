"""Atoms: one operation on numbers each, and the language that composites of them are written in.

An atom is a product, a remainder, a greatest common divisor, a sum of digits or a number of divisors. A
composite (composites.py) applies one to the value of another, so both draw from the same domains: whoever
knows every atom at a level knows every part of a composite at that level.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement

TOPIC = "atoms"
LEVELS = (1, 2, 3)

# Largest first operand and largest second one, by level.
_TOP = {
    "product": {1: (99, 9), 2: (199, 9), 3: (999, 30)},
    "mod": {1: (99, 25), 2: (199, 40), 3: (999, 199)},
    "gcd": {1: (99, 99), 2: (160, 160), 3: (999, 999)},
    "digits": {1: (499, 0), 2: (999, 0), 3: (9999, 0)},
    "divisors": {1: (60, 0), 2: (120, 0), 3: (400, 0)},
}
_LEAST = {"product": (3, 2), "mod": (10, 4), "gcd": (4, 4), "digits": (10, 0), "divisors": (4, 0)}
_MOST_EUCLID = {1: 3, 2: 4, 3: 6}  # steps of Euclid's algorithm
UNARY = ("digits", "divisors")
ATOMS = tuple(_TOP)


def draw_second(atom: str, rng: Random, level: int, first: int) -> int | None:
    """A second operand that suits the first; None where the atom does not take that first one.

    0 for an atom with one operand.
    """
    (low, low2), (top, top2) = _LEAST[atom], _TOP[atom][level]
    if not low <= first <= top:
        return None
    if atom in UNARY:
        return 0
    if atom == "product":
        return rng.randint(low2, min(top2, 999 // first)) if first * low2 <= 999 else None
    if atom == "mod":
        second = rng.randint(low2, min(top2, first - 1))
        return second if first % second else None
    return _draw_gcd_partner(rng, level, first, top2)


def _draw_gcd_partner(rng: Random, level: int, first: int, top: int) -> int | None:
    """A number that shares a divisor above 1 with `first` and is not equal to it."""
    common = rng.choice([d for d in range(2, first + 1) if first % d == 0])
    second = common * rng.randint(1, top // common)
    work = Derivation()
    if second == first or second < _LEAST["gcd"][1]:
        return None
    work.euclid(first, second)
    return second if len(work.steps) <= _MOST_EUCLID[level] else None


def draw_first(atom: str, rng: Random, level: int) -> int:
    """A first operand of the atom's domain."""
    return rng.randint(_LEAST[atom][0], _TOP[atom][level][0])


def compute(atom: str, work: Derivation, first: int, second: int) -> int:
    """The atom's value, with its steps written down."""
    if atom == "product":
        return work.mul(first, second)
    if atom == "mod":
        return work.mod(first, second)
    if atom == "gcd":
        return work.euclid(first, second)
    if atom == "digits":
        return work.total(map(int, str(first)))
    return _count_divisors(work, first)


def _count_divisors(work: Derivation, n: int) -> int:
    """Divide the primes out from below; p^e has one divisor more with each p, and the counts multiply.

    For 12: `12/2=6;1+1=2;6/2=3;2+1=3;3/3=1;1+1=2;3*2=6`.
    """
    total, prime = 1, 2
    while n > 1:
        count = 1
        while n % prime == 0:
            n = work.div(n, prime)
            count = work.add(count, 1)
        if count > 1:
            total = work.mul(total, count) if total > 1 else count
        prime += 1
        if prime * prime > n > 1:  # what is left has no smaller divisor
            prime = max(prime, n)
    return total


def terse(atom: str, first: str, second: int) -> str:
    """`37*8`, `97 mod 31`, `gcd(48,36)`, `digits(391)` or `divisors of 60`; `first` may be such a text."""
    nested = " mod " in first or "divisors" in first
    if atom == "product":
        return f"({first})*{second}" if nested else f"{first}*{second}"
    if atom == "mod":
        return f"({first}) mod {second}" if nested else f"{first} mod {second}"
    if atom == "divisors":
        return (
            f"divisors of {first}"
            if first.isdecimal() or first.startswith("gcd")
            else f"divisors of ({first})"
        )
    return f"digits({first})" if atom == "digits" else f"gcd({first},{second})"


def words(atom: str, first: str, second: int) -> str:
    """The atom in English; `first` is a number between dollars, or such a phrase, which then comes last."""
    pair = f"{first} and ${second}$" if first.startswith("$") else f"${second}$ and {first}"
    return {
        "product": f"the product of {pair}",
        "mod": f"the remainder when {first} is divided by ${second}$",
        "gcd": f"the greatest common divisor of {pair}",
        "digits": f"the sum of the digits of {first}",
        "divisors": f"the number of positive divisors of {first}",
    }[atom]


def _draw(atom: str) -> Callable[[Random, int], Params | None]:
    def draw(rng: Random, level: int) -> Params | None:
        first = draw_first(atom, rng, level)
        second = draw_second(atom, rng, level, first)
        return None if second is None else (first, second)

    return draw


def _state(atom: str) -> Callable[[Params], Statement]:
    def state(params: Params) -> Statement:
        first, second = params
        low, high = sorted(params)
        canonical = f"{low},{high}" if atom in ("product", "gcd") else f"{first},{second}"
        said = f"Find {words(atom, f'${first}$', second)}."
        return Statement(
            f"0:{canonical}" if atom == "gcd" else canonical, said, terse(atom, str(first), second)
        )

    return state


def _derive(atom: str) -> Callable[[Params, Derivation], int]:
    return lambda params, work: compute(atom, work, *params)


# `gcd(49,63)` is a problem of the family gcd too, and is hashed as one, so that it is in one split of both.
FAMILIES = tuple(
    Family(
        f"atom_{atom}",
        TOPIC,
        _draw(atom),
        _state(atom),
        _derive(atom),
        levels=LEVELS,
        is_fact=atom != "gcd",
        hashed_as="gcd" if atom == "gcd" else "",
    )
    for atom in ATOMS
)
