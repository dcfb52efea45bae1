"""A parser for the arithmetic in running text. No eval; sizes are capped.

Reads `17*23`, `3 x $5/box`, `20% of 50`, `\\frac{1}{2} \\cdot 6`, `2 1/2`, `2^{10}`, `\\sqrt{16}`,
`|3-5|`, `396 mod 7`, `gcd(4,6)`, `C(5,2)`, `\\binom{5}{2}`, `{5 \\choose 2}`, `5!`, `3!2!`, `1e3`, `2½`,
thousands separators, currency signs, and units after an operand.
"""

from __future__ import annotations

import re
from fractions import Fraction

from harness.grading.lexicon import SCALES
from harness.grading.steps.exact import Node
from harness.grading.steps.numbers import number_of
from harness.grading.steps.tokens import (
    MAX_DEPTH,
    MAX_DIGITS,
    OPERAND_STARTS,
    Token,
    closed_groups,
    variables,
)

MAX_TOKENS = 200  # of one expression
MAX_UNIT_WORDS = 6

# `3 hundred - 5` is left alone: the check was measured with `hundred` as a unit.
_MULTIPLIERS = {word: value for word, value in SCALES.items() if word != "hundred"}
_NOT_UNITS = frozenset(["is", "so", "then", "or", "but", "which", "because", "if", "was", "are", "get"])
_PRODUCT = re.compile(r"(?!kg|[mck]m|ml|ft|in|lb|oz|hr|st|nd|rd|th|am|pm|min|hrs|lbs|mph|sq)[A-Za-z]{2,3}")
_AFTER_UNITS = frozenset(["times", "over", "plus", "minus", "equals", "approx", "equiv", "close", "mod"])
_LETTER_UNITS = frozenset("agklmshLA")


def _proper_fraction(node: Node) -> Fraction | None:
    """The value of a fraction of two whole numbers, the first the smaller: what makes a mixed number."""
    top, bottom = (arg.args[0] if arg.op == "group" else arg for arg in node.args)
    if node.op != "over" or not (top.op == bottom.op == "num") or not 0 < top.value < bottom.value:
        return None
    return top.value / bottom.value if top.value.denominator == bottom.value.denominator == 1 else None


class Parser:
    """Recursive descent over tokens: `parse(i)` is (node, next index), or None if nothing starts at i."""

    def __init__(self, tokens: list[Token]) -> None:
        """Parse nothing yet."""
        self.tokens = tokens
        self.limit = 0
        self.closed = closed_groups(tokens)
        self.variables = variables(tokens)
        self.formulas = any(token.kind == "delim" for token in tokens)

    def parse(self, i: int) -> tuple[Node, int] | None:
        """The longest expression that starts at token `i`, units included."""
        self.limit = min(len(self.tokens), i + MAX_TOKENS)
        return self._modulo(i, 0)

    def parse_operand(self, i: int) -> tuple[Node, int] | None:
        """The number or bracketed expression at token `i`, without units."""
        self.limit = min(len(self.tokens), i + MAX_TOKENS)
        return self._operand(i, 0)

    def kind(self, i: int) -> str:
        """The kind of token `i`; "end" past the last one."""
        return self.tokens[i].kind if i < self.limit else "end"

    def _modulo(self, i: int, depth: int) -> tuple[Node, int] | None:
        left = self._sum(i, depth)
        while left is not None and self.kind(left[1]) == "mod" and "p" not in self.tokens[left[1]].text[:2]:
            right = self._sum(left[1] + 1, depth)
            if right is None:
                break
            left = Node("mod", (left[0], right[0])), right[1]
        return left

    def _sum(self, i: int, depth: int) -> tuple[Node, int] | None:
        left = self._product(i, depth)
        while left is not None and (op := self.kind(left[1])) in ("plus", "minus"):
            right = self._product(left[1] + 1, depth)
            if right is None:
                break
            left = Node(op, (left[0], right[0])), right[1]
        return left

    def _product(self, i: int, depth: int) -> tuple[Node, int] | None:
        left = self._unary(i, depth)
        while left is not None:
            op, after = self._multiplication(left[1])
            right = self._tight_fraction(after) if op == "over" else None
            right = right or (self._unary(after, depth) if op else None)
            if right is None:
                break
            left = Node(op, (left[0], right[0])), right[1]
        return left

    def _tight_fraction(self, i: int) -> tuple[Node, int] | None:
        """`1/3` in `25 / 1/3`: written without blanks after a division sign with one, it binds first."""
        if [self.kind(j) for j in range(i, i + 3)] != ["number", "over", "number"] or self.tokens[i].glued:
            return None
        if not (self.tokens[i + 1].glued and self.tokens[i + 2].glued):
            return None
        top, bottom = self._number(i), self._number(i + 2)
        return (Node("over", (top[0], bottom[0])), self._units(bottom[1])) if top and bottom else None

    def _multiplication(self, i: int) -> tuple[str, int]:
        """The multiplicative operator at `i` ("" for none) and the index after it."""
        kind = self.kind(i)
        if kind in ("times", "over"):
            return kind, i + 1
        if self._is_multiplication_sign(i) and (
            self.tokens[i].text != "of" or self.tokens[i - 1].kind != "word"
        ):
            return "times", i + 1
        implied = kind == "open" and self.tokens[i].text not in "[{" and self._after_operand(i)
        if implied or kind in ("frac", "binom", "root") or (kind == "number" and self._after_factor(i)):
            return "times", i
        return "", i

    def _after_operand(self, i: int) -> bool:
        """`5(3)`; in a text with formulas also `\\frac{1}{2} (68)`."""
        return (self.tokens[i].glued or self.formulas) and self.tokens[i - 1].kind in ("number", "close")

    def _after_factor(self, i: int) -> bool:
        """`(2^3)5`, and `2^6 7^2`, where a number after a blank is a factor."""
        if self.tokens[i].glued:
            return self.tokens[i - 1].kind == "close"
        return self.kind(i + 1) == "power" and i > 1 and self.tokens[i - 2].kind == "power"

    def _after_factorial(self, i: int) -> bool:
        """`3!3!`, `3! 3!` and `3!(6-3)!`, which also a division sign does not part."""
        if i == 0 or self.tokens[i - 1].kind != "bang" or self.kind(i) not in ("number", "open"):
            return False
        return self.tokens[i].glued or (self.kind(i) == "number" and self.kind(i + 1) == "bang")

    def _unary(self, i: int, depth: int) -> tuple[Node, int] | None:
        if self.kind(i) == "minus":
            inner = self._unary(i + 1, depth + 1) if depth < MAX_DEPTH else None
            return None if inner is None else (Node("neg", (inner[0],)), inner[1])
        return self._power(i, depth)

    def _power(self, i: int, depth: int) -> tuple[Node, int] | None:
        base = self._postfix(i, depth)
        if base is None or self.kind(base[1]) != "power":
            return base
        sign = self.tokens[base[1]].text
        if sign in "²³":
            node = Node("power", (base[0], Node("num", value=Fraction(2 if sign == "²" else 3))))
            return node, self._units(base[1] + 1)
        exponent = self._unary(base[1] + 1, depth + 1) if depth < MAX_DEPTH else None
        return base if exponent is None else (Node("power", (base[0], exponent[0])), exponent[1])

    def _postfix(self, i: int, depth: int) -> tuple[Node, int] | None:
        operand = self._operand(i, depth)
        if operand is None:
            return None
        node, i = operand
        while self.kind(i) == "bang" and self.tokens[i].glued:
            node, i = Node("factorial", (node,)), i + 1
        right = self._power(i, depth + 1) if depth < MAX_DEPTH and self._after_factorial(i) else None
        if right is not None:
            return Node("times", (node, right[0])), right[1]
        while self.kind(i) == "percent":
            node, i = Node("percent", (node,)), i + 1
        return node, self._units(i)

    def _operand(self, i: int, depth: int) -> tuple[Node, int] | None:
        if depth >= MAX_DEPTH:
            return None
        kind = self.kind(i)
        if kind == "number":
            return self._number(i)
        if kind == "open":
            if i not in self.closed:
                return None
            inner = self._modulo(i + 1, depth + 1)
            if inner is not None and self.kind(inner[1]) == "choose":
                lower = self._modulo(inner[1] + 1, depth + 1)
                inner = (Node("binom", (inner[0], lower[0])), lower[1]) if lower else None
            closed = inner is not None and self.kind(inner[1]) == "close"
            op = "group" if self.tokens[i].text in "({[" else "abs"
            return (Node(op, (inner[0],)), inner[1] + 1) if inner and closed else None
        if kind in ("frac", "binom"):
            return self._two_groups(i, depth)
        if kind == "call":
            return self._call(i, depth)
        return self._root(i, depth) if kind == "root" else None

    def _root(self, i: int, depth: int) -> tuple[Node, int] | None:
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

    def _number(self, i: int) -> tuple[Node, int] | None:
        token = self.tokens[i]
        if len(token.text) > MAX_DIGITS:
            return None
        following = self.tokens[i + 1] if i + 1 < self.limit else None
        if following is not None and self._is_variable(i + 1):
            return None  # 2x: algebra, not arithmetic
        value, places = number_of(token.text)
        node = Node("num", value=value, decimals=places)
        if self.kind(i + 1) == "frac" and node.decimals == 0:
            part = self._two_groups(i + 1, 0)
            if part is not None and (rest := _proper_fraction(part[0])) is not None:
                return Node("num", value=node.value + rest), part[1]  # 2\\frac{1}{2}
        if following is not None and following.kind == "word" and following.text in _MULTIPLIERS:
            return Node("scaled", (node,), Fraction(_MULTIPLIERS[following.text])), i + 2
        mixed = [self.kind(j) for j in range(i + 1, i + 4)] == ["number", "over", "number"]
        if mixed and not self.tokens[i + 1].glued and self.tokens[i + 2].glued and self.tokens[i + 3].glued:
            top, bottom = (number_of(self.tokens[j].text)[0] for j in (i + 1, i + 3))
            if 0 < top < bottom and node.decimals == 0:
                return Node("num", value=node.value + top / bottom), i + 4
        return node, i + 1

    def _is_variable(self, i: int) -> bool:
        """Letters glued to a number, unless they are a unit (800g, 5kg) or multiply (4x3).

        More than one letter is a product of variables only in a text with formulas (2xy).
        """
        token = self.tokens[i]
        if token.kind != "word" or not token.glued or self._is_multiplication_sign(i):
            return False
        if len(token.text) == 1:
            return token.text not in "gkLl" or token.text in self.variables
        return "_" in token.text or (self.formulas and _PRODUCT.fullmatch(token.text) is not None)

    def _two_groups(self, i: int, depth: int) -> tuple[Node, int] | None:
        top = self._argument(i + 1, depth)
        if top is not None and self.kind(i + 1) == "number" and len(self.tokens[i + 1].text) == 2:
            digits = [Node("num", value=Fraction(int(d))) for d in self.tokens[i + 1].text]  # \\frac12
            bottom: tuple[Node, int] | None = (digits[1], i + 2)
            top = digits[0], i + 2
        else:
            bottom = self._argument(top[1], depth) if top else None
            if bottom and self.kind(bottom[1] - 1) == "number" and len(self.tokens[bottom[1] - 1].text) > 1:
                return None
        if top is None or bottom is None:
            return None
        return Node("over" if self.kind(i) == "frac" else "binom", (top[0], bottom[0])), bottom[1]

    def _argument(self, i: int, depth: int) -> tuple[Node, int] | None:
        """What a LaTeX command takes: a group, or a bare number of one digit (two: both arguments)."""
        if self.kind(i) == "open":
            return self._operand(i, depth + 1)
        if self.kind(i) == "number" and self.tokens[i].text.isdecimal() and len(self.tokens[i].text) <= 2:
            return Node("num", value=Fraction(int(self.tokens[i].text))), i + 1
        return None

    def _call(self, i: int, depth: int) -> tuple[Node, int] | None:
        name = {"gcd": "gcd", "lcm": "lcm", "c": "binom"}[self.tokens[i].text.lstrip("\\").lower()]
        first = self._modulo(i + 2, depth + 1) if i + 1 in self.closed else None
        second = self._modulo(first[1] + 1, depth + 1) if first and self.kind(first[1]) == "comma" else None
        if first is None or second is None or self.kind(second[1]) != "close":
            return None
        return Node(name, (first[0], second[0])), second[1] + 1

    def _units(self, i: int) -> int:
        """The index after the unit words at `i` (`miles/hour`, `-pound bags`) if an operator follows."""
        j, words = i, 0
        while words <= MAX_UNIT_WORDS:
            if self.kind(j) == "word" and not self._is_multiplication_sign(j):
                word = self.tokens[j].text
                if "_" in word or (self.tokens[j].glued and self.tokens[j - 1].kind == "close"):
                    return i  # a variable: \\frac{1}{2}bh
                if word.lower() in _NOT_UNITS or (len(word) == 1 and not self._is_letter_unit(word)):
                    return i
                if word[0] == "\\" and not word.startswith(("\\text", "\\mathrm", "\\mbox")):
                    return i
                j, words = j + 1, words + 1
                if self.kind(j) == "power" and self.kind(j + 1) == "number":
                    j += 2
            elif self._joins_unit(j):
                j += 1
            else:
                break
        goes_on = self.kind(j) in _AFTER_UNITS
        # `2 chairs for a total of 16*2`: after unit words `of` does not multiply
        multiplies = self._is_multiplication_sign(j) and (j == i or self.tokens[j].text != "of")
        return j if goes_on or multiplies else i

    def _is_letter_unit(self, letter: str) -> bool:
        article = letter == "a" and self.formulas  # \\frac92a
        return letter in _LETTER_UNITS and letter not in self.variables and not article

    def _joins_unit(self, i: int) -> bool:
        """`/hour` and `-pound` go on with a unit; ` - x` does not."""
        if (
            self.kind(i) not in ("over", "minus")
            or self.kind(i + 1) != "word"
            or self.tokens[i].text not in "/-"
        ):
            return False
        long = len(self.tokens[i + 1].text) > 1  # `20-g` subtracts
        return self.kind(i) == "over" or (self.tokens[i].glued and self.tokens[i + 1].glued and long)

    def _is_multiplication_sign(self, i: int) -> bool:
        """`x` and `of` multiply where an operand follows."""
        signs = ("x", "X", "of")
        return self.kind(i) == "word" and self.tokens[i].text in signs and self.kind(i + 1) in OPERAND_STARTS
