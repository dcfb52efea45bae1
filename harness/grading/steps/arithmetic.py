"""A parser for the arithmetic in running text. No eval; sizes are capped.

Reads `17*23`, `3 x $5/box`, `20% of 50`, `\\frac{1}{2} \\cdot 6`, `2 1/2`, `2^{10}`, `\\sqrt{16}`,
`|3-5|`, `396 mod 7`, `gcd(4,6)`, `C(5,2)`, `\\binom{5}{2}`, `{5 \\choose 2}`, `5!`, `3!2!`, `1e3`, `2½`,
thousands separators, currency signs, and units after an operand.
"""

from __future__ import annotations

import re
from fractions import Fraction

from harness.grading.lexicon import SCALES
from harness.grading.steps.cursor import Cursor
from harness.grading.steps.exact import Node, Uncheckable, evaluate
from harness.grading.steps.numbers import number_of
from harness.grading.steps.tokens import MAX_DEPTH, MAX_DIGITS, tokenize

MAX_TOKENS = 200  # of one expression

# `3 hundred - 5` is left alone: the check was measured with `hundred` as a unit.
_MULTIPLIERS = {word: value for word, value in SCALES.items() if word != "hundred"}
_FUNCTIONS = {"gcd": "gcd", "lcm": "lcm", "c": "binom"}

Parsed = tuple[Node, int]  # what was read, and the index of the token after it


def value_of(text: str) -> Fraction | None:
    """The exact value of an expression without letters: `5^2`, `\\binom{7}{2} + 4`; None for others."""
    if re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", text)):
        return None
    parser = Parser(Cursor(tokenize(f"={text}")))  # the sign keeps a first `-` from being a bullet
    parsed = parser.parse(1)
    if parsed is None or parsed[1] != len(parser.tokens):
        return None
    try:
        return evaluate(parsed[0])
    except Uncheckable:
        return None


def _proper_fraction(node: Node) -> Fraction | None:
    """The value of a fraction that a mixed number may end in: whole numbers, the first the smaller."""
    top, bottom = (arg.args[0] if arg.op == "group" else arg for arg in node.args)
    if node.op != "over" or not (top.op == bottom.op == "num") or not 0 < top.value < bottom.value:
        return None
    return top.value / bottom.value if top.value.denominator == bottom.value.denominator == 1 else None


class Parser:
    """Recursive descent over tokens: `parse(i)` is (node, next index), or None if nothing starts at i."""

    def __init__(self, cursor: Cursor) -> None:
        """Parse nothing yet."""
        self.cursor = cursor
        self.tokens = cursor.tokens
        self.kind = cursor.kind

    def parse(self, i: int) -> Parsed | None:
        """The longest expression that starts at token `i`, units included."""
        self.cursor.limit = min(len(self.tokens), i + MAX_TOKENS)
        return self._modulo(i, 0)

    def parse_operand(self, i: int) -> Parsed | None:
        """The number or bracketed expression at token `i`, without units."""
        self.cursor.limit = min(len(self.tokens), i + MAX_TOKENS)
        return self._operand(i, 0)

    def _modulo(self, i: int, depth: int) -> Parsed | None:
        left = self._sum(i, depth)
        while left is not None and self.kind(left[1]) == "mod" and "p" not in self.tokens[left[1]].text[:2]:
            right = self._sum(left[1] + 1, depth)
            if right is None:
                break
            left = Node("mod", (left[0], right[0])), right[1]
        return left

    def _sum(self, i: int, depth: int) -> Parsed | None:
        left = self._product(i, depth)
        while left is not None and (op := self.kind(left[1])) in ("plus", "minus"):
            right = self._product(left[1] + 1, depth)
            if right is None:
                break
            left = Node(op, (left[0], right[0])), right[1]
        return left

    def _product(self, i: int, depth: int) -> Parsed | None:
        left = self._unary(i, depth)
        while left is not None:
            op, after = self._multiplication(left[1])
            right = self._tight_fraction(after) if op == "over" else None
            right = right or (self._unary(after, depth) if op else None)
            if right is None:
                break
            left = Node(op, (left[0], right[0])), right[1]
        return left

    def _tight_fraction(self, i: int) -> Parsed | None:
        """`1/3` in `25 / 1/3`: written without blanks after a division sign with one, it binds first."""
        if [self.kind(j) for j in range(i, i + 3)] != ["number", "over", "number"] or self.tokens[i].glued:
            return None
        if not (self.tokens[i + 1].glued and self.tokens[i + 2].glued):
            return None
        top, bottom = self._number(i), self._number(i + 2)
        if top is None or bottom is None:
            return None
        return Node("over", (top[0], bottom[0])), self.cursor.after_units(bottom[1])

    def _multiplication(self, i: int) -> tuple[str, int]:
        """The multiplicative operator at `i` ("" for none) and the index after it."""
        kind = self.kind(i)
        if kind in ("times", "over"):
            return kind, i + 1
        if self.cursor.is_multiplication_sign(i) and (
            self.tokens[i].text != "of" or self.tokens[i - 1].kind != "word"
        ):
            return "times", i + 1
        if kind == "open":
            implied = self.tokens[i].text not in "[{" and self.cursor.follows_operand(i)
        else:
            factor = kind == "number" and self.cursor.follows_factor(i)
            implied = factor or kind in ("frac", "binom", "root")
        return ("times" if implied else ""), i

    def _unary(self, i: int, depth: int) -> Parsed | None:
        if self.kind(i) == "minus":
            inner = self._unary(i + 1, depth + 1) if depth < MAX_DEPTH else None
            return None if inner is None else (Node("neg", (inner[0],)), inner[1])
        return self._power(i, depth)

    def _power(self, i: int, depth: int) -> Parsed | None:
        base = self._postfix(i, depth)
        if base is None or self.kind(base[1]) != "power":
            return base
        sign = self.tokens[base[1]].text
        if sign in "²³":
            node = Node("power", (base[0], Node("num", value=Fraction(2 if sign == "²" else 3))))
            return node, self.cursor.after_units(base[1] + 1)
        exponent = self._unary(base[1] + 1, depth + 1) if depth < MAX_DEPTH else None
        return base if exponent is None else (Node("power", (base[0], exponent[0])), exponent[1])

    def _postfix(self, i: int, depth: int) -> Parsed | None:
        operand = self._operand(i, depth)
        if operand is None:
            return None
        node, i = operand
        while self.kind(i) == "bang" and self.tokens[i].glued:
            node, i = Node("factorial", (node,)), i + 1
        right = self._power(i, depth + 1) if depth < MAX_DEPTH and self.cursor.follows_factorial(i) else None
        if right is not None:
            return Node("times", (node, right[0])), right[1]
        while self.kind(i) == "percent":
            node, i = Node("percent", (node,)), i + 1
        return node, self.cursor.after_units(i)

    def _operand(self, i: int, depth: int) -> Parsed | None:
        if depth >= MAX_DEPTH:
            return None
        kind = self.kind(i)
        if kind == "number":
            return self._number(i)
        if kind == "open":
            return self._group(i, depth) if i in self.cursor.closed else None
        if kind in ("frac", "binom"):
            return self._two_groups(i, depth)
        if kind == "call":
            return self._call(i, depth)
        return self._root(i, depth) if kind == "root" else None

    def _group(self, i: int, depth: int) -> Parsed | None:
        """What stands in the bracket or between the bars at token `i`; `{5 \\choose 2}` is a binomial."""
        inner = self._modulo(i + 1, depth + 1)
        if inner is not None and self.kind(inner[1]) == "choose":
            lower = self._modulo(inner[1] + 1, depth + 1)
            inner = (Node("binom", (inner[0], lower[0])), lower[1]) if lower else None
        if inner is None or self.kind(inner[1]) != "close":
            return None
        return Node("group" if self.tokens[i].text in "({[" else "abs", (inner[0],)), inner[1] + 1

    def _root(self, i: int, depth: int) -> Parsed | None:
        """`\\sqrt{16}`, `\\sqrt[3]{8}`, `sqrt(16)`, `√16` as a fractional power."""
        j, degree = i + 1, Fraction(2)
        if self.kind(j) == "open" and self.tokens[j].text == "[":
            if self.kind(j + 1) != "number" or self.tokens[j + 1].text not in list("23456789"):
                return None
            j, degree = j + 3, Fraction(int(self.tokens[j + 1].text))
        whole = self.kind(j) == "number" and self.tokens[i].text == "√"
        inner = self._number(j) if whole else self._argument(j, depth)
        if inner is None or (not whole and len(self.tokens[j].text) > 1):
            return None  # \\sqrt16 is 6 times the root of 1
        return Node("power", (inner[0], Node("num", value=1 / degree))), inner[1]

    def _number(self, i: int) -> Parsed | None:
        """The literal at token `i`, mixed numbers and scale words (`2 1/2`, `3 million`) included."""
        token = self.tokens[i]
        if len(token.text) > MAX_DIGITS:
            return None
        if i + 1 < self.cursor.limit and self.cursor.is_variable(i + 1):
            return None  # 2x: algebra, not arithmetic
        value, places = number_of(token.text)
        if places == 0 and (mixed := self._mixed(i, value)):
            return mixed
        node = Node("num", value=value, decimals=places)
        if self.kind(i + 1) == "word" and (factor := _MULTIPLIERS.get(self.tokens[i + 1].text)):
            return Node("scaled", (node,), Fraction(factor)), i + 2
        return node, i + 1

    def _mixed(self, i: int, whole: Fraction) -> Parsed | None:
        """The mixed number whose whole part is token `i`: `2\\frac{1}{2}`, `2 1/2`; None for any other."""
        kind = self.kind(i + 1)
        if kind == "frac":
            part = self._two_groups(i + 1, 0)
            rest = _proper_fraction(part[0]) if part else None
            return (Node("num", value=whole + rest), part[1]) if part and rest is not None else None
        if kind != "number" or self.kind(i + 2) != "over" or self.kind(i + 3) != "number":
            return None
        first, sign, last = self.tokens[i + 1 : i + 4]
        if first.glued or not (sign.glued and last.glued):
            return None
        top, bottom = number_of(first.text)[0], number_of(last.text)[0]
        return (Node("num", value=whole + top / bottom), i + 4) if 0 < top < bottom else None

    def _two_groups(self, i: int, depth: int) -> Parsed | None:
        top = self._argument(i + 1, depth)
        if top is not None and self.kind(i + 1) == "number" and len(self.tokens[i + 1].text) == 2:
            digits = [Node("num", value=Fraction(int(d))) for d in self.tokens[i + 1].text]  # \\frac12
            bottom: Parsed | None = (digits[1], i + 2)
            top = digits[0], i + 2
        else:
            bottom = self._argument(top[1], depth) if top else None
            if bottom and self.kind(bottom[1] - 1) == "number" and len(self.tokens[bottom[1] - 1].text) > 1:
                return None
        if top is None or bottom is None:
            return None
        return Node("over" if self.kind(i) == "frac" else "binom", (top[0], bottom[0])), bottom[1]

    def _argument(self, i: int, depth: int) -> Parsed | None:
        """What a LaTeX command takes: a group, or a bare number of one digit (two: both arguments)."""
        if self.kind(i) == "open":
            return self._operand(i, depth + 1)
        if self.kind(i) == "number" and self.tokens[i].text.isdecimal() and len(self.tokens[i].text) <= 2:
            return Node("num", value=Fraction(int(self.tokens[i].text))), i + 1
        return None

    def _call(self, i: int, depth: int) -> Parsed | None:
        name = _FUNCTIONS[self.tokens[i].text.lstrip("\\").lower()]
        first = self._modulo(i + 2, depth + 1) if i + 1 in self.cursor.closed else None
        second = self._modulo(first[1] + 1, depth + 1) if first and self.kind(first[1]) == "comma" else None
        if first is None or second is None or self.kind(second[1]) != "close":
            return None
        return Node(name, (first[0], second[0])), second[1] + 1
