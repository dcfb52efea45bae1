r"""Reading a formula, LaTeX or plain, into a tree. Recursive descent over tokens; nothing is evaluated.

A node is (operation, operand, ...): `2x+3` is ("plus", ("times", ("num", 2), ("var", "x")), ("num", 3)).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

MAX_CHARS = 500
MAX_DEPTH = 40  # of brackets
Node = tuple[Any, ...]

_GREEK = (
    r"alpha|beta|gamma|delta|epsilon|zeta|eta|theta|lambda|mu|nu|xi|rho|sigma|tau|phi|varphi|chi|psi|omega"
)
_CIRCULAR = ("sin", "cos", "tan", "cot", "sec", "csc")
# Functions and what mpmath calls them.
_FUNCTIONS = {name: name for name in (*_CIRCULAR, "sinh", "cosh", "tanh", "exp", "ln")}
_FUNCTIONS |= {f"arc{name}": f"a{name}" for name in _CIRCULAR}
_FUNCTIONS |= {"log": "log10", "lg": "log10", "cis": "expj"}
ANALYTIC = frozenset((*_FUNCTIONS.values(), "floor", "ceil"))
_OF_TWO = {"frac": "over", "binom": "binom", "dbinom": "binom", "tbinom": "binom"}
_OF_SEVERAL = ("gcd", "lcm")
_COMMANDS = frozenset((*_FUNCTIONS, *_OF_SEVERAL, *_OF_TWO, "sqrt"))
_WORDS = "|".join(sorted((*_FUNCTIONS, *_OF_SEVERAL, "sqrt", "pi", "mod"), key=len, reverse=True))
_PLAIN_WORD = re.compile(rf"(?<![A-Za-z\\])({_WORDS})(?![A-Za-z])")
_VARIABLE = rf"(?:[A-Za-z](?!(?<=[a-z])[a-z]{{3}})|\\(?:{_GREEK})(?![A-Za-z]))(?:_(?:\w|\{{\w+\}}))?'*"
_TOKEN = re.compile(
    r"(?<![(\[,])\d{1,3}(?:,\d{3})+(?![\d,)\]])(?:\.\d+)?|(?!0\d)\d+(?:\.\d+)?|\.\d+"
    rf"|{_VARIABLE}|\\[A-Za-z]+|\\[{{}}]|\*\*|(?<!!)!(?!!)|[-+*/^_()\[\]{{}}|=°,]"
)
_MIXED = re.compile(r"\d+ \\frac { (\d+) } { (\d+) }")
_ROUNDED = {"|": "abs", r"\lfloor": "floor", r"\lceil": "ceil"}
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", "|": "|", r"\lfloor": r"\rfloor"} | {
    r"\lceil": r"\rceil"
}
_TIMES = ("*", r"\cdot", r"\times", r"\ast")
_OVER = ("/", r"\div")
_MOD = (r"\bmod", r"\mod")
_NO_FACTOR = frozenset((*_TIMES, *_OVER, *_MOD, *_CLOSING.values(), r"\{"))
_CONSTANTS = {r"\pi": "pi", "e": "e", "i": "i"}
_ONE: Node = ("num", Fraction(1))
_DEGREE: Node = ("over", ("const", "pi"), ("num", Fraction(180)))


class Unreadable(ValueError):
    """The text is no formula that this reader knows."""


def parse(text: str) -> Node:
    """The tree of a formula. Raises Unreadable."""
    reader = _Reader(_tokens(text))
    node = reader.sum()
    if reader.peek():
        raise Unreadable(f"unread: {reader.peek()[:20]!r}")
    return node


def variables(node: Node) -> set[str]:
    """The names of a tree's free variables."""
    if node[0] == "var":
        return {node[1]}
    return set().union(*(variables(child) for child in node[1:] if isinstance(child, tuple)))


def _tokens(text: str) -> list[str]:
    if len(text) > MAX_CHARS:
        raise Unreadable(f"more than {MAX_CHARS} characters")
    text = _PLAIN_WORD.sub(r"\\\1 ", text)
    if re.search(r"[A-Za-z]{4}", re.sub(r"\\[A-Za-z]+", " ", text)):
        raise Unreadable("prose, not mathematics")
    found = _TOKEN.findall(text)
    if "".join(found) != "".join(text.split()):
        raise Unreadable("signs of no formula")
    return found


class _Reader:
    """Recursive descent; each method reads one level of precedence from the next token on."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.bars, self.depth = tokens, 0, False, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if not token or (expected and token not in expected):
            raise Unreadable(f"unread: {token[:20]!r}")
        self.at += 1
        return token

    def accept(self, *tokens: str) -> bool:
        found = self.peek() in tokens
        self.at += found
        return found

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        node = self.product()
        while self.peek() in ("+", "-"):
            node = ("plus" if self.take() == "+" else "minus", node, self.product())
        while self.accept(*_MOD):
            node = ("mod", node, self.product())
        self.depth -= 1
        return node

    def product(self) -> Node:
        node = self.mixed() or self.signed()
        while True:
            if self.accept(*_TIMES):
                node = ("times", node, self.signed())
            elif self.accept(*_OVER):
                node = ("over", node, self.signed())
            elif self.starts_factor():
                if self.peek()[0] in ".0123456789" and self.tokens[self.at - 1] not in (")", "!"):
                    raise Unreadable("a number follows another factor")
                node = ("times", node, self.power())
            else:
                return node

    def mixed(self) -> Node | None:
        r"""`3\frac12` at the start of a product, which is a sum."""
        part = _MIXED.fullmatch(" ".join(self.tokens[self.at : self.at + 8]))
        return ("plus", self.atom(), self.atom()) if part and int(part[1]) < int(part[2]) else None

    def starts_factor(self) -> bool:
        token = self.peek()
        if token == "|":
            return not self.bars
        return bool(re.match(r"[(\[{.\d\\]|[^\W_]", token)) and token not in _NO_FACTOR

    def signed(self) -> Node:
        if self.accept("-"):
            return ("neg", self.signed())
        self.accept("+")
        return self.power()

    def power(self) -> Node:
        node = self.atom()
        while True:
            if self.accept("!"):
                node = ("factorial", node)
            elif self.accept("°"):
                node = ("times", node, _DEGREE)
            elif self.accept("^", "**"):
                node = ("power", node, self.exponent())
            else:
                return node

    def exponent(self) -> Node:
        if self.accept("-"):
            return ("neg", self.exponent())
        self.accept("+")
        node = self.atom()
        return ("power", node, self.exponent()) if self.accept("^", "**") else node

    def group(self) -> Node:
        opening = self.take(*_CLOSING)
        outer, self.bars = self.bars, opening == "|"
        node = self.sum()
        self.take(_CLOSING[opening])
        self.bars = outer
        return (_ROUNDED[opening], node) if opening in _ROUNDED else node

    def atom(self) -> Node:
        r"""A group, a number, a name or a command: what LaTeX takes as one, `\frac12` apart."""
        token = self.peek()
        if token in _CLOSING and token != r"\{":
            return self.group()
        self.take()
        if token in _CONSTANTS:
            return ("const", _CONSTANTS[token])
        if token[0] in ".0123456789":
            return ("num", Fraction(token.replace(",", "")))
        if token[0] == "\\" and token[1:] in _COMMANDS:
            return self.command(token[1:])
        if re.fullmatch(_VARIABLE, token):
            return ("var", re.sub("[{}]", "", token))
        raise Unreadable(f"unread: {token[:20]!r}")

    def command(self, name: str) -> Node:
        if name in _OF_TWO:
            return (_OF_TWO[name], self.atom(), self.atom())
        if name == "sqrt":
            degree = self.group() if self.peek() == "[" else ("num", Fraction(2))
            return ("power", self.atom(), ("over", _ONE, degree))
        if name in _OF_SEVERAL:
            opening = self.take("(", r"\{", "{")
            items = [self.sum()]
            while self.accept(","):
                items.append(self.sum())
            self.take(_CLOSING[opening])
            return (name, *items)
        base = self.atom() if self.accept("_") else None
        power = self.exponent() if self.accept("^") else None
        argument = self.argument()
        if power == ("neg", _ONE):
            return (f"a{name}", argument)
        node: Node = (_FUNCTIONS[name], argument)
        if base is not None:
            node = ("over", ("ln", argument), ("ln", base))
        return node if power is None else ("power", node, power)

    def argument(self) -> Node:
        r"""What a function is taken of: a bracket, or the factors that follow: `\sin 2x \cos x`."""
        if self.peek() in ("(", "[", "{"):
            return self.group()
        if self.accept("-"):
            return ("neg", self.argument())
        node = self.power()
        while self.starts_factor() and self.peek().lstrip("\\") not in _FUNCTIONS:
            node = ("times", node, self.power())
        return node
