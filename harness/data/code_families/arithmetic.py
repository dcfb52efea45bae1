"""Functions of numbers: operations in order, two cases, two arguments, a rule seen from its values."""

from __future__ import annotations

from random import Random

from harness.data.code_families.family import (
    Family,
    Op,
    Params,
    Stated,
    applied,
    draw_op,
    infix,
    numbers,
)

_INPUTS = 5


def _shown(ops: tuple[Op, ...]) -> str:
    return " ".join(f"{op.sign}{op.number}" for op in ops)


def _english(ops: tuple[Op, ...]) -> str:
    return ", then ".join(op.english for op in ops)


# ---------------------------------------------------------------- operations in order
def _draw_compose(rng: Random, level: int) -> Params:
    """One operation more than the level."""
    return tuple(draw_op(rng) for _ in range(level + 1))


def _state_compose(params: Params) -> Stated:
    ops: tuple[Op, ...] = params
    last = ops[-1]
    bound = f"assert all(0 <= f(n) < {last.number} for n in range(40))"
    steady = "assert len({f(n + 1) - f(n) for n in range(40)}) == 1"
    is_linear = all(op.sign != "%" for op in ops)
    return Stated(
        text=f"Write a function f(x) of a whole number: {_english(ops)}.",
        terse=f"x {_shown(ops)}",
        arguments="x",
        value=lambda x: applied(ops, x),
        solution=infix("x", ops),
        wrong=infix("x", ops, brackets=False),
        inputs=[(x,) for x in numbers(_shown(ops), _INPUTS, 0, 99)],
        properties=(steady,) if is_linear else (bound,) if last.sign == "%" else (),
    )


# ---------------------------------------------------------------- one thing or another
def _draw_branch(rng: Random, level: int) -> Params:
    """(kind of condition, its number, operations if it holds, operations if not)."""
    kind = rng.choice((">", "<", "%"))
    most = (level + 1) // 2
    sides = [tuple(draw_op(rng) for _ in range(rng.randint(1, most))) for _ in range(2)]
    return (kind, rng.randint(2, 9) if kind == "%" else rng.randint(10, 90), *sides)


def _state_branch(params: Params) -> Stated:
    kind, number, yes, no = params
    condition = f"x%{number}==0" if kind == "%" else f"x{kind}{number}"
    english = {
        ">": f"x is larger than {number}",
        "<": f"x is smaller than {number}",
        "%": f"x is divisible by {number}",
    }[kind]

    def holds(x: int) -> bool:
        return x % number == 0 if kind == "%" else x > number if kind == ">" else x < number

    tried = numbers(params, 100, 0, 99)
    two = [next(x for x in tried if holds(x) == side) for side in (True, False)]
    return Stated(
        text=f"Write a function f(x) of a whole number. If {english}: {_english(yes)}. "
        f"Otherwise: {_english(no)}.",
        terse=f"{condition.removesuffix('==0')} ? {_shown(yes)} : {_shown(no)}",
        arguments="x",
        value=lambda x: applied(yes if holds(x) else no, x),
        solution=f"{infix('x', yes)} if {condition} else {infix('x', no)}",
        wrong=f"{infix('x', no)} if {condition} else {infix('x', yes)}",
        inputs=[(x,) for x in dict.fromkeys((*two, *tried[:_INPUTS]))],
    )


# ---------------------------------------------------------------- two arguments
_WORDS = {"+": "add x and y", "-": "subtract y from x", "*": "multiply x by y"}


def _draw_two(rng: Random, level: int) -> Params:
    return (rng.choice("+-*"), *(draw_op(rng) for _ in range(level)))


def _state_two(params: Params) -> Stated:
    sign, *rest = params
    ops = tuple(rest)
    start = f"x{sign}y" if sign == "*" or ops[0].sign in "+-" else f"(x{sign}y)"

    def value(x: int, y: int) -> int:
        return applied(ops, {"+": x + y, "-": x - y, "*": x * y}[sign])

    xs = numbers((sign, _shown(ops)), 2 * _INPUTS, 1, 50)
    return Stated(
        text=f"Write a function f(x, y) of two whole numbers: {_WORDS[sign]}, then {_english(ops)}.",
        terse=f"x{sign}y {_shown(ops)}",
        arguments="x,y",
        value=value,
        solution=infix(start, ops),
        wrong=infix(f"x{sign}y", ops, brackets=False),
        inputs=list(zip(xs[:_INPUTS], xs[_INPUTS:], strict=True)),
        properties=() if sign == "-" else ("assert f(3, 8) == f(8, 3)",),
    )


# ---------------------------------------------------------------- a rule from two of its values
def _draw_infer(rng: Random, level: int) -> Params:
    """(factor, constant, whether of x*x); larger numbers at a higher level."""
    return rng.randint(2, 9 + 10 * level), rng.randint(0, 20 * level), level > 3


def _state_infer(params: Params) -> Stated:
    factor, constant, squared = params
    term = "x*x" if squared else "x"

    def value(x: int) -> int:
        return factor * (x * x if squared else x) + constant

    shown = [(x, value(x)) for x in ((1, 2, 3) if squared else (1, 2))]
    kind = "a multiple of x*x plus a constant" if squared else "a multiple of x plus a constant"
    return Stated(
        text=f"Write a function f(x), {kind}, with " + ", ".join(f"f({x}) = {y}" for x, y in shown) + ".",
        terse=f"{term}: " + " ".join(f"{x},{y}" for x, y in shown),
        arguments="x",
        value=value,
        solution=f"{term}*{factor}+{constant}",
        wrong=f"{term}*{factor}+{shown[0][1]}",
        inputs=[(x,) for x in numbers(params, _INPUTS, 0, 60)],
        properties=() if squared else ("assert len({f(n + 1) - f(n) for n in range(9)}) == 1",),
    )


FAMILIES = (
    Family("compose", "arithmetic", _draw_compose, _state_compose),
    Family("branch", "conditions", _draw_branch, _state_branch),
    Family("two_arguments", "arithmetic", _draw_two, _state_two),
    Family("infer", "rules", _draw_infer, _state_infer),
)
