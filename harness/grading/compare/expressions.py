r"""Reading a formula, LaTeX or plain, into a tree. Recursive descent over tokens; nothing is evaluated.

A node is (operation, operand, ...): `2x+3` is ("add", ("mul", ("num", 2), ("var", "x")), ("num", 3)).
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
_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")
_FUNCTIONS = frozenset(
    (*_TRIGONOMETRIC, *(f"arc{name}" for name in _TRIGONOMETRIC[:6]), "log", "lg", "ln", "exp", "cis", "deg")
)
_SEVERAL = frozenset(("gcd", "lcm", "max", "min"))
_WORDS = "|".join(sorted((*_FUNCTIONS, *_SEVERAL, "sqrt", "pi", "mod"), key=len, reverse=True))
_TOKEN = re.compile(
    r"(?P<num>(?<![(\[,])\d{1,3}(?:,\d{3})+(?![\d,)\]])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    rf"|(?P<name>(?:[A-Za-z](?!(?<=[a-z])[a-z]{{3}})|\\(?:{_GREEK})(?![A-Za-z]))(?:_(?:\w|\{{\w+\}}))?'*)"
    r"|(?P<cmd>\\[A-Za-z]+)|(?P<op>\\[{}]|\*\*|[-+*/^_()\[\]{}|!,=])|(?P<space>\s+)"
)
_PLAIN_WORD = re.compile(rf"(?<![A-Za-z\\])({_WORDS})(?![A-Za-z])")
_CLOSING = {
    "(": ")",
    "[": "]",
    "{": "}",
    r"\{": r"\}",
    "|": "|",
    r"\lfloor": r"\rfloor",
    r"\lceil": r"\rceil",
}
_ROUNDED = {"|": "abs", r"\lfloor": "floor", r"\lceil": "ceil"}
_TIMES = ("*", r"\cdot", r"\times", r"\ast")
_OVER = ("/", r"\div")
_CONSTANTS = {r"\pi": "pi", "e": "e", "i": "i"}


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
    found = set().union(*(variables(child) for child in node[1:] if isinstance(child, tuple)))
    return found - {node[1]} if node[0] in ("sum", "prod") else found


def _tokens(text: str) -> list[str]:
    if len(text) > MAX_CHARS:
        raise Unreadable(f"more than {MAX_CHARS} characters")
    text = _PLAIN_WORD.sub(r"\\\1 ", text)
    if re.search(r"[A-Za-z]{4}", re.sub(r"\\[A-Za-z]+", " ", text)):
        raise Unreadable("prose, not mathematics")
    found, end = [], 0
    while end < len(text):
        match = _TOKEN.match(text, end)
        if match is None:
            raise Unreadable(f"unread: {text[end : end + 20]!r}")
        if match.lastgroup != "space":
            found.append(match[0])
        end = match.end()
    return found


class _Reader:
    """Recursive descent; each method reads one level of precedence from the next token on."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.bars, self.depth = tokens, 0, 0, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if not token or (expected and token not in expected):
            raise Unreadable(f"unread: {token[:20]!r}")
        self.at += 1
        return token

    def accept(self, *tokens: str) -> bool:
        found = self.peek() in tokens and bool(self.peek())
        self.at += found
        return found

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        node = self.product()
        while self.peek() in ("+", "-"):
            negative = self.take() == "-"
            right = self.product()
            node = ("add", node, ("neg", right) if negative else right)
        while self.accept(r"\bmod", r"\mod"):
            node = ("mod", node, self.product())
        self.depth -= 1
        return node

    def product(self) -> Node:
        node = self.mixed() or self.signed()
        while True:
            if self.accept(*_TIMES):
                node = ("mul", node, self.signed())
            elif self.accept(*_OVER):
                node = ("div", node, self.signed())
            elif self.starts():
                if self.peek()[0] in ".0123456789" and self.tokens[self.at - 1][-1].isalnum():
                    raise Unreadable("a number follows another factor")
                node = ("mul", node, self.power())
            else:
                return node

    def mixed(self) -> Node | None:
        r"""`3\frac12` at the start of a product, which is a sum."""
        if re.fullmatch(
            r"\d+ \\frac \{ \d+ \} \{ \d+ \}", " ".join(self.tokens[self.at : self.at + 8])
        ) and int(self.tokens[self.at + 3]) < int(self.tokens[self.at + 6]):
            whole = self.atom()
            return ("add", whole, self.atom())
        return None

    def starts(self) -> bool:
        """Whether the next token may begin a factor."""
        token = self.peek()
        if token in ("|",):
            return not self.bars
        return bool(token) and (
            token in ("(", "[", "{")
            or token[0] in ".0123456789"
            or token[0].isalpha()
            or (token[0] == "\\" and token not in _NO_FACTOR)
        )

    def signed(self) -> Node:
        if self.accept("-"):
            return ("neg", self.signed())
        self.accept("+")
        return self.power()

    def power(self) -> Node:
        node = self.atom()
        while True:
            if self.accept("!"):
                node = ("double" if self.accept("!") else "factorial", node)
            elif self.accept("^", "**"):
                node = ("pow", node, self.exponent())
            else:
                return node

    def exponent(self) -> Node:
        if self.accept("-"):
            return ("neg", self.exponent())
        self.accept("+")
        node = self.atom()
        return ("pow", node, self.exponent()) if self.accept("^", "**") else node

    def group(self, opening: str) -> Node:
        self.take(opening)
        outer, self.bars = self.bars, int(opening == "|")
        node = self.sum()
        self.take(_CLOSING[opening])
        self.bars = outer
        return node

    def braced(self) -> Node:
        """`{...}`, or one token as LaTeX takes it."""
        return self.group("{") if self.peek() == "{" else self.atom()

    def atom(self) -> Node:
        token = self.peek()
        if token in ("(", "[", "{"):
            return self.group(token)
        if token in _ROUNDED:
            return (_ROUNDED[token], self.group(token))
        self.take()
        if token in _CONSTANTS:
            return ("const", _CONSTANTS[token])
        if token[0] in ".0123456789":
            return ("num", Fraction(token.replace(",", "")))
        name = token.lstrip("\\")
        if token[0] == "\\" and name in _FUNCTIONS | _SEVERAL | _OTHER:
            return self.command(name)
        if token[0].isalpha() or re.match(rf"\\(?:{_GREEK})\b", token.replace("_", " ")):
            return ("var", token.replace("{", "").replace("}", ""))
        raise Unreadable(f"unread: {token[:20]!r}")

    def command(self, name: str) -> Node:
        if name == "frac":
            return ("div", self.braced(), self.braced())
        if name in ("binom", "dbinom", "tbinom"):
            return ("binom", self.braced(), self.braced())
        if name == "sqrt":
            degree = self.group("[") if self.peek() == "[" else ("num", Fraction(2))
            return ("root", degree, self.braced())
        if name in _SEVERAL:
            opening = self.take("(", r"\{", "{")
            items = [self.sum()]
            while self.accept(","):
                items.append(self.sum())
            self.take(_CLOSING[opening])
            return (name, *items)
        if name in ("sum", "prod"):
            return self.series(name)
        return self.function(name)

    def series(self, name: str) -> Node:
        self.take("_")
        self.take("{")
        index = self.take()
        self.take("=")
        low = self.sum()
        self.take("}")
        self.take("^")
        return (name, index, low, self.braced(), self.product())

    def function(self, name: str) -> Node:
        base: Node | None = None
        power: Node | None = None
        while self.peek() in ("_", "^"):
            if self.take() == "_":
                base = self.braced()
            else:
                power = self.exponent()
        argument = self.argument()
        if power == ("neg", ("num", Fraction(1))):
            return (f"arc{name}", argument)
        node: Node = (name, argument) if base is None else ("logbase", base, argument)
        return node if power is None else ("pow", node, power)

    def argument(self) -> Node:
        r"""What a function is taken of: a bracket, or the factors that follow: `\sin 2x \cos x`."""
        if self.peek() in ("(", "[", "{"):
            return self.group(self.peek())
        if self.accept("-"):
            return ("neg", self.argument())
        node = self.power()
        while self.starts() and self.peek().lstrip("\\") not in _FUNCTIONS:
            node = ("mul", node, self.power())
        return node


_OTHER = frozenset(("frac", "binom", "dbinom", "tbinom", "sqrt", "sum", "prod"))
_NO_FACTOR = frozenset((*_TIMES, *_OVER, *_CLOSING.values(), r"\bmod", r"\mod", r"\{"))
