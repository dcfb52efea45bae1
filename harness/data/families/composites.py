"""Composites: an atom of the value of another atom, two or three deep; a name reads from the outside in.

`divisors_gcd_mod` asks for the number of divisors of the gcd of a remainder and a number. Some are meant as
problems whose derivations no pretraining text holds, though each atom's are known, and, in
conf/corpus/discovery.yaml, those of other composites: does training on answers alone find the chain? A
product outside gives many different answers, which are seldom guessed. Every value on the way differs from
the answer and from the numbers of the statement, so a right chain has to compute it; `Derivation.parts` has
those values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from harness.data.families.atoms import (
    LEVELS,
    UNARY,
    compute,
    draw_first,
    draw_second,
    terse,
    words,
)
from harness.data.families.family import Derivation, Family, Params, Statement, joined

TOPIC = "composites"
NAMES = (
    "digits_product",
    "divisors_gcd",
    "gcd_mod",
    "product_gcd",
    "divisors_mod",
    "product_digits",
    "gcd_product",
    "digits_mod",
    "digits_mod_product",
    "divisors_gcd_mod",
    "gcd_mod_product",
    "product_digits_product",
    "product_mod",
    "product_divisors",
    "digits_gcd",
    "gcd_digits",
    "mod_gcd",
    "mod_digits",
    "product_gcd_mod",
    "product_digits_mod",
    "product_mod_product",
    "product_gcd_digits",
    "product_gcd_product",
    "product_digits_gcd",
    "mod_mod",
    "product_product",
    "product_mod_gcd",
    "product_mod_digits",
    "product_mod_mod",
)
_COMMUTATIVE = ("product", "gcd")
_LEAST_VALUE = 3  # of the answer and of each part: smaller ones are guessed too often


def _draw(atoms: Sequence[str]) -> Callable[[Random, int], Params | None]:
    """params = the innermost atom's operands, then the second one of each atom around it (0: it has none)."""

    def draw(rng: Random, level: int) -> Params | None:
        value = draw_first(atoms[0], rng, level)
        params, parts = [value], []
        for atom in atoms:
            second = draw_second(atom, rng, level, value)
            if second is None:
                return None
            value = compute(atom, Derivation(), value, second)
            params.append(second)
            parts.append(value)
        told = len(set(parts)) < len(parts) or set(params) & set(parts) or min(parts) < _LEAST_VALUE
        return None if told else tuple(params)

    return draw


def _state(atoms: Sequence[str]) -> Callable[[Params], Statement]:
    def state(params: Params) -> Statement:
        first, *seconds = params
        said, short = f"${first}$", str(first)
        for atom, second in zip(atoms, seconds, strict=True):
            said, short = words(atom, said, second), terse(atom, short, second)
        inner = sorted(params[:2]) if atoms[0] in _COMMUTATIVE else params[:2]
        return Statement(joined((*inner, *params[2:])), f"Find {said}.", short)

    return state


def _derive(atoms: Sequence[str]) -> Callable[[Params, Derivation], int]:
    def derive(params: Params, work: Derivation) -> int:
        value, *seconds = params
        for i, (atom, second) in enumerate(zip(atoms, seconds, strict=True)):
            if i:
                work.parts.append(value)
            if atom in UNARY and value < 2:  # after a slip
                raise ArithmeticError(f"no {atom} of {value}")
            value = compute(atom, work, value, second)
        return value

    return derive


def _family(name: str) -> Family:
    atoms = tuple(reversed(name.split("_")))
    return Family(name, TOPIC, _draw(atoms), _state(atoms), _derive(atoms), levels=LEVELS)


FAMILIES = tuple(_family(name) for name in NAMES)
