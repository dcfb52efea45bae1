"""GSM8K's annotated solutions: the calculations `<<48/2=24>>` read, evaluated exactly, and written again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

Exact = int | Fraction

_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}
_OPERATORS = {*_RANK, "(", ")"}
_ANNOTATION = re.compile(r"<<([-+*/().\d]+)=([-.\d]+)>>")
_TOKEN = re.compile(r"\d*\.\d+|\d+\.?|[-+*/()]")


@dataclass(frozen=True, slots=True)
class Step:
    """An annotation: its tokens, the same in postfix, the values of its operands, its result."""

    tokens: tuple[str, ...]
    postfix: tuple[str, ...]
    operands: Mapping[str, Exact]
    result: Exact


def steps_of(solution: str) -> list[Step] | None:
    """The annotations; None for one that is not exactly right, is not positive, or cannot be read."""
    steps = []
    for match in _ANNOTATION.finditer(solution):
        tokens = tuple(_TOKEN.findall(match[1]))
        postfix = _postfix(tokens)
        if postfix is None or match[2].startswith("-"):
            return None
        operands = {t: value for t in tokens if (value := number(t)) is not None}
        result = value_of(postfix, operands)
        if result is None or result <= 0 or result != Fraction(match[2].rstrip(".")):
            return None
        steps.append(Step(tokens, postfix, operands, result))
    return steps if len(steps) == solution.count("<<") else None


def number(token: str) -> Exact | None:
    """The exact value of a token, an int wherever it is whole; None for an operator."""
    if token in _OPERATORS:
        return None
    value = Fraction(token.rstrip("."))
    return value.numerator if value.denominator == 1 else value


def _postfix(tokens: Sequence[str]) -> tuple[str, ...] | None:
    """The expression in postfix (shunting-yard); None for a bad form, or a sign before a number."""
    out: list[str] = []
    waiting: list[str] = []
    want_number = True
    for token in tokens:
        is_number = token not in _OPERATORS
        if want_number != (is_number or token == "("):
            return None
        if is_number:
            out.append(token)
        elif token == "(":
            waiting.append(token)
        else:
            lowest = _RANK.get(token, 1)
            while waiting and _RANK.get(waiting[-1], 0) >= lowest:
                out.append(waiting.pop())
            if token != ")":
                waiting.append(token)
            elif not waiting or waiting.pop() != "(":
                return None
        want_number = token == "(" or token in _RANK
    out += reversed(waiting)
    return None if want_number or "(" in out else tuple(out)


def value_of(postfix: Sequence[str], operands: Mapping[str, Exact]) -> Exact | None:
    """The exact value, an int wherever it is whole; None for a zero divisor."""
    stack: list[Exact] = []
    for token in postfix:
        if token not in _RANK:
            stack.append(operands[token])
            continue
        b, a = stack.pop(), stack.pop()
        if token == "+":
            stack.append(a + b)
        elif token == "-":
            stack.append(a - b)
        elif token == "*":
            stack.append(a * b)
        elif not b:
            return None
        else:
            stack.append(Fraction(a) / b if a % b else a // b)
    (value,) = stack
    return value.numerator if value.denominator == 1 else value


def solution_of(steps: Sequence[Step]) -> str:
    """The steps as a solution of GSM8K's form: a line each, and `#### answer`."""
    lines = [
        f"{''.join(s.tokens)} = <<{''.join(s.tokens)}={shown(s.result)}>>{shown(s.result)}" for s in steps
    ]
    return "\n".join([*lines, f"#### {shown(steps[-1].result)}"])


def shown(value: Exact) -> str:
    """An integer, or a decimal that ends; a share such as 1/3 does not occur."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.10f}".rstrip("0")
