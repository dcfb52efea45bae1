"""Functions of lists and texts: a value of all elements, and a text changed step by step."""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random

from harness.data.code_families.family import MOST, Family, Op, Params, Stated, applied, infix, numbers

_TOTALS: dict[str, Callable[..., int]] = {"sum": sum, "max": max, "min": min}
_NAMES = {"sum": "the sum", "max": "the largest", "min": "the smallest"}
_TRIES = 4


# ---------------------------------------------------------------- a value of a list
def _draw_fold(rng: Random, level: int) -> Params:
    """(total, operations on each element, those that count: (sign, number) or None).

    The elements are chosen from level 2 on.
    """
    ops = tuple(Op(rng.choice("+-*"), rng.randint(2, MOST)) for _ in range((level + 1) // 2))
    chosen = (rng.choice((">", "<", "%")), rng.randint(2, 9)) if level > 1 else None
    return rng.choice(sorted(_TOTALS)), ops, chosen


def _state_fold(params: Params) -> Stated:
    total, ops, chosen = params
    sign, number = chosen or ("", 0)
    condition = {"": "", "%": f"a%{number}==0"}.get(sign, f"a{sign}{number}")
    english = {
        "": "every element",
        ">": f"every element larger than {number}",
        "<": f"every element smaller than {number}",
        "%": f"every element divisible by {number}",
    }[sign]

    def counts(a: int) -> bool:
        return not sign or {">": a > number, "<": a < number, "%": a % number == 0}[sign]

    def value(v: list[int]) -> int:
        return _TOTALS[total](applied(ops, a) for a in v if counts(a))

    sure = {"": 1, ">": 30, "<": 1, "%": 3 * number}[
        sign
    ]  # an element that counts, so that there is a largest
    lists = [[*numbers((params, i), 5, 0, 40), sure] for i in range(_TRIES)]
    each = infix("a", ops)
    shown = " ".join(f"{op.sign}{op.number}" for op in ops)
    said = ", then ".join(op.english for op in ops)
    some = [*lists[0]]
    return Stated(
        text=f"Write a function f(v) of a list of whole numbers: {_NAMES[total]} of the values that you "
        f"get if, for {english}, you {said}.",
        terse=f"v {total} {shown}" + (f" {condition.removesuffix('==0')}" if sign else ""),
        arguments="v",
        value=value,
        solution=f"{total}({each} for a in v" + (f" if {condition})" if sign else ")"),
        wrong=f"{total}(a for a in v" + (f" if {condition})" if sign else ")"),
        inputs=[(v,) for v in lists],
        properties=(f"assert f({some}) == f({some[::-1]})",),
    )


# ---------------------------------------------------------------- a text, step by step
_TEXT_OPS = ("reverse", "upper", "first", "last", "repeat", "append")


def _draw_text(rng: Random, level: int) -> Params:
    """(name, its number or letters) of one step more than the level."""

    def step() -> tuple[str, object]:
        name = rng.choice(_TEXT_OPS)
        if name == "append":
            return name, "".join(rng.choice(string.ascii_lowercase) for _ in range(2))
        return name, rng.randint(2, 3 if name == "repeat" else 6)

    return tuple(step() for _ in range(level + 1))


def _text_step(text: str, name: str, given: object) -> str:
    """A step done, character by character where Python has a shorter way."""
    size = given if isinstance(given, int) else 0
    if name == "reverse":
        return "".join(reversed(text))
    if name == "upper":
        return "".join(letter.upper() for letter in text)
    if name == "first":
        return "".join(letter for i, letter in enumerate(text) if i < size)
    if name == "last":
        return "".join(letter for i, letter in enumerate(text) if i >= len(text) - size)
    return text + str(given) if name == "append" else "".join(text for _ in range(size))


def _text_code(before: str, name: str, given: object, *, brackets: bool = True) -> str:
    """The step as Python, after the code before it."""
    compound = brackets and any(sign in before.rpartition(")")[2] for sign in "+*") and name != "append"
    start = f"({before})" if compound else before
    after = {
        "reverse": "[::-1]",
        "upper": ".upper()",
        "first": f"[:{given}]",
        "last": f"[-{given}:]",
        "repeat": f"*{given}",
        "append": f"+'{given}'",
    }[name]
    return start + after


def _state_text(params: Params) -> Stated:
    english = {
        "reverse": "reverse it",
        "upper": "put it in capitals",
        "first": "keep its first {} letters",
        "last": "keep its last {} letters",
        "repeat": "write it {} times in a row",
        "append": "put {} behind it",
    }
    code = wrong = "s"
    for name, given in params:
        code, wrong = _text_code(code, name, given), _text_code(wrong, name, given, brackets=False)

    def value(s: str) -> str:
        for name, given in params:
            s = _text_step(s, name, given)
        return s

    rng = Random(f"texts|{params}")
    words = ["".join(rng.choice(string.ascii_letters) for _ in range(size)) for size in (3, 7, 8, 11)]
    shown = " ".join(
        name + (f" {given}" if name not in ("reverse", "upper") else "") for name, given in params
    )
    return Stated(
        text="Write a function f(s) of a text: "
        + ", then ".join(english[name].format(given) for name, given in params)
        + ".",
        terse=f"s {shown}",
        arguments="s",
        value=value,
        solution=code,
        wrong=wrong,
        inputs=[(word,) for word in words],
        properties=("assert type(f('abc')) is str",),
    )


FAMILIES = (
    Family("fold", "lists", _draw_fold, _state_fold),
    Family("text_steps", "texts", _draw_text, _state_text),
)
