r"""Write a side of a statement as a formula for `compare/`, and compute its exact value. Sizes are capped.

Covers `3 x $5/box`, `20% of 50`, `\frac12 \cdot 6`, `2 1/2`, `√16`, `|3-5|`, `396 mod 7`, `gcd(4,6)`,
`C(5,2)`, `{5 \choose 2}`, `3!2!`, `1e3`, `2½`, thousands, and units after an operand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from unicodedata import digit

from harness.grading.compare.expressions import Node, parse
from harness.grading.operations import Undecided, exact
from harness.grading.steps.numbers import written
from harness.grading.steps.roles import MULTIPLIERS
from harness.grading.steps.tokens import Token

MAX_BITS = 4096  # of any value
NUMBER = r"(?:\d[\d.]*|\.\d+)"
_BRACED = r"((?:[^{}]|\{[^{}]*\})+)"
# What `compare/` writes otherwise, in this order. It does not know `?`, which is for what nobody should read.
_FORMS = [
    (re.compile(r"\\sqrt(?=\d\d)|\\(?:gcd|lcm) ?\([^,()]*\)"), "?"),
    (re.compile("√"), r"\\sqrt"),
    (re.compile(r"(\\(?:frac|binom)) ?(\d) ?(\d)(?!\d)"), r"\1{\2}{\3}"),
    (re.compile(r"(?<![\d.])(\d+) (\d+)/(\d+)(?![\d.])"), r"{\1+\2/\3}"),
    (re.compile(r"(?<![\d.])(\d+) ?\\frac ?\{(\d+)\}\{(\d+)\}"), r"{\1+\2/\3}"),
    (re.compile(r"(\^\d|\^\d+ )(?=\d+\^)"), r"\1*"),  # LaTeX's `2^34^2`, and `2^3 4^2`
    (re.compile(r"/ (\d+)/(\d+)(?![\d.])"), r"/(\1/\2)"),
    (re.compile(r"(\d+!(?: ?\d+!)+)"), r"(\1)"),
    (re.compile(r"\bC ?\(([^(),]+),([^(),]+)\)"), r"\\binom{\1}{\2}"),
    (re.compile(rf"\{{{_BRACED}\\choose {_BRACED}\}}"), r"\\binom{\1}{\2}"),
]
_PLAIN = re.compile(r"[-+*.\d ]*")  # most formulas need none of them
_SCALES = {"%": "/100"} | {word: f"*{factor}" for word, factor in MULTIPLIERS.items()}
_SCALED = re.compile(rf"({NUMBER}) ?({'|'.join(_SCALES)})")


def formula(tokens: Sequence[Token], roles: str, sizes: Mapping[str, Fraction] | None = None) -> str:
    """The text of a formula; its units are left out, or replaced by their sizes."""
    pieces = []
    for token, role in zip(tokens, roles, strict=True):
        size = sizes.get(token.text) if sizes else None
        dropped = f"*{size}" if size else " "
        pieces.append(" " * (not token.glued) + (dropped if role == "_" else _sign(token, role)))
    text = " ".join("".join(pieces).split())
    for pattern, form in [] if _PLAIN.fullmatch(text) else _FORMS:
        text = pattern.sub(form, text)
    return text


def _sign(token: Token, role: str) -> str:
    """A token as a formula of `compare/` has it."""
    kind, text = token.kind, token.text
    if role in "+-*/%^,":
        return role
    if kind == "number":
        number = written(text)
        return f"{{{number}}}" if "+" in number else number
    if kind == "power":
        return f"^{digit(text)}"
    if kind in ("frac", "binom", "choose", "mod"):
        return f"\\{'p' * (text[:2] == chr(92) + 'p')}{kind} "
    if kind in ("open", "close") and text not in "()[]{}":
        return "|"
    if kind == "call":
        name = text.lstrip("\\")
        return name if name == "C" else f"\\{name.lower()}"
    return "\\sqrt" if text == "sqrt" else text


def evaluate(text: str, *, scaled: bool = True) -> Fraction:
    """The exact value of a formula.

    Raises ArithmeticError if there is none (a zero divisor), Undecided over a cap, Unreadable for other text.
    `scaled=False` reads 25% as 25 and 6 million as 6, for statements that drop the unit on the other side.
    """
    return value(parsed(text, scaled=scaled))


@lru_cache(maxsize=2**15)  # samples of one problem write the same sums
def parsed(text: str, *, scaled: bool = True) -> Node:
    """The tree of a formula, with its percent signs and scale words as factors, or without them."""
    text = _SCALED.sub(lambda found: f"({found[1]}{_SCALES[found[2]]})" if scaled else found[1], text)
    return parse(text.replace("%", "/100" * scaled))


def value(node: Node) -> Fraction:
    """The exact value of a tree; raises as `evaluate` does."""
    op = node[0]
    if op == "num":
        return node[1]
    if op in ("var", "const", "sum", "prod"):
        raise Undecided(op)
    values = [value(child) for child in node[1:]]
    result = exact(op, values, most_bits=MAX_BITS)
    if result is None or max(result.numerator.bit_length(), result.denominator.bit_length()) > MAX_BITS:
        raise Undecided(op)
    return result
