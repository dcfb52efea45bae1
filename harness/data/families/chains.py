"""Arithmetic of controlled depth: the level, 1 to 8, is the number of operations.

`chain` applies one operation after another to a running result; `dag` gives each operation a letter and asks
for one that rests on all others, in any order of definition. After GSM-Infinite's graphs as arXiv:2512.07783
uses them to control what a base has seen; here with plain formulas in the place of stories. All values are
whole numbers from 0 to 99, and each operation is one step of the derivation.
"""

from __future__ import annotations

from random import Random

from harness.data.families.family import Derivation, Family, Params, Statement

TOPIC = "depth"
LEVELS = (1, 2, 3, 4, 5, 6, 7, 8)
TOP = 99
_SIGNS = "+-*"
_LATEX = ("+", "-", r"\cdot")
_LETTERS = "abcdefgh"
_WORDS = ("add ${}$", "subtract ${}$", "multiply by ${}$")


def _apply(work: Derivation, sign: int, a: int, b: int) -> int:
    return (work.add, work.sub, work.mul)[sign](a, b)


def _value(sign: int, a: int, b: int) -> int:
    return (a + b, a - b, a * b)[sign]


def _number(rng: Random, sign: int, value: int) -> int | None:
    """A number for `value sign number` that keeps the result within 0..TOP; None where there is none."""
    if not value:
        return None
    low, high = ((1, min(49, TOP - value)), (1, min(49, value)), (2, min(9, TOP // value)))[sign]
    return rng.randint(low, high) if low <= high else None


# ---------------------------------------------------------------- one operation after another
def _draw_chain(rng: Random, level: int) -> Params | None:
    """(start, sign, number, sign, number, ...), signs counted in `+-*`."""
    return _numbers_of_chain(rng, [rng.randrange(3) for _ in range(level)])


def _numbers_of_chain(rng: Random, signs: list[int]) -> Params | None:
    value = rng.randint(2, 49)
    params = [value]
    for sign in signs:
        number = _number(rng, sign, value)
        if number is None:
            return None
        params += [sign, number]
        value = _value(sign, value, number)
    return tuple(params)


def _redraw_chain(rng: Random, params: Params) -> Params | None:
    """Other numbers with the same operations."""
    return _numbers_of_chain(rng, list(params[1::2]))


def _state_chain(params: Params) -> Statement:
    start, *rest = params
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    listed = ", ".join(_WORDS[sign].format(number) for sign, number in pairs)
    short = ",".join(f"{_SIGNS[sign]}{number}" for sign, number in pairs)
    canonical = f"{start},{short}"
    if pairs[0][0] != 1:  # 3+5 is 5+3, and 3*5 is 5*3
        low, high = sorted((start, pairs[0][1]))
        canonical = ",".join([str(low), f"{_SIGNS[pairs[0][0]]}{high}", *short.split(",")[1:]])
    return Statement(canonical, f"Start with ${start}$ and {listed}. Find the result.", f"{start},{short}")


def _derive_chain(params: Params, work: Derivation) -> int:
    value, *rest = params
    for i, (sign, number) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
        work.parts += [value] * bool(i)
        value = _apply(work, sign, value, number)
    return value


# ---------------------------------------------------------------- a graph of definitions
# params = (place in the order of statement, sign, left, right) of each operation in the order of dependence;
# an operand n >= 0 is a number, -1 - i the result of operation i. Every result but the last is used.
def _draw_dag(rng: Random, level: int) -> Params | None:
    shape: list[tuple[int, int, int]] = []
    for i in range(level):
        left = -i if i else 0  # the result before this one; 0 stands for a number that is not drawn yet
        other = rng.randrange(i - 1) if i > 1 and rng.random() < 0.5 else None
        shape.append((rng.randrange(3), left, 0 if other is None else -1 - other))
    places = list(range(level))
    rng.shuffle(places)
    return _numbers_of_dag(rng, shape, places)


def _numbers_of_dag(rng: Random, shape: list[tuple[int, int, int]], places: list[int]) -> Params | None:
    values: list[int] = []
    params: list[int] = []
    for (sign, left, right), place in zip(shape, places, strict=True):
        a = values[-1 - left] if left < 0 else rng.randint(2, 49)
        number = None if right < 0 else _number(rng, sign, a)
        b = values[-1 - right] if right < 0 else number
        if b is None or not 0 <= (value := _value(sign, a, b)) <= TOP:
            return None
        values.append(value)
        params += [place, sign, left if left < 0 else a, right if right < 0 else b]
    return tuple(params)


def _redraw_dag(rng: Random, params: Params) -> Params | None:
    """Other numbers in the same graph, stated in the same order."""
    shape = [(sign, min(left, 0), min(right, 0)) for _, sign, left, right in _operations(params)]
    return _numbers_of_dag(rng, shape, [place for place, *_ in _operations(params)])


def _operations(params: Params) -> list[tuple[int, int, int, int]]:
    return [(params[i], params[i + 1], params[i + 2], params[i + 3]) for i in range(0, len(params), 4)]


def _state_dag(params: Params) -> Statement:
    """Letters go by the order of statement, so that they do not tell the order of dependence."""
    operations = _operations(params)
    names = [_LETTERS[place] for place, *_ in operations]
    shown = [[names[-1 - n] if n < 0 else str(n) for n in ends] for _, _, *ends in operations]
    order = sorted(range(len(operations)), key=lambda i: operations[i][0])
    lines = [(names[i], shown[i][0], operations[i][1], shown[i][1]) for i in order]
    full = ", ".join(f"${x} = {a} {_LATEX[sign]} {b}$" for x, a, sign, b in lines)
    short = ",".join(f"{x}={a}{_SIGNS[sign]}{b}" for x, a, sign, b in lines)
    return Statement(
        canonical=_tree(operations, len(operations) - 1),
        text=f"Let {full}. Find ${names[-1]}$.",
        terse=f"{short},{names[-1]}?",
    )


def _tree(operations: list[tuple[int, int, int, int]], i: int) -> str:
    """An operation written out, with the operands of + and * in one order."""
    _, sign, *ends = operations[i]
    sides = [_tree(operations, -1 - n) if n < 0 else str(n) for n in ends]
    if sign != 1:
        sides.sort()
    return f"({sides[0]}{_SIGNS[sign]}{sides[1]})"


def _derive_dag(params: Params, work: Derivation) -> int:
    values: list[int] = []
    for _, sign, *ends in _operations(params):
        a, b = (values[-1 - n] if n < 0 else n for n in ends)
        values.append(_apply(work, sign, a, b))
    work.parts += values[:-1]
    return values[-1]


FAMILIES = (
    Family("chain", TOPIC, _draw_chain, _state_chain, _derive_chain, levels=LEVELS, redraw=_redraw_chain),
    Family("dag", TOPIC, _draw_dag, _state_dag, _derive_dag, levels=LEVELS, redraw=_redraw_dag),
)
