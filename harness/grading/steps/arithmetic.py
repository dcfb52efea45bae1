r"""A parser for the arithmetic in running text. No eval; sizes are capped.

Reads `3 x $5/box`, `20% of 50`, `\frac{1}{2} \cdot 6`, `2 1/2`, `\sqrt{16}`, `|3-5|`, `396 mod 7`,
`gcd(4,6)`, `C(5,2)`, `{5 \choose 2}`, `3!2!`, `1e3`, `2½`, thousands, and units after an operand.
"""

from __future__ import annotations

import re
from fractions import Fraction
from unicodedata import digit

from harness.grading.lexicon import SCALES
from harness.grading.steps.cursor import Cursor
from harness.grading.steps.exact import Node
from harness.grading.steps.quantities import number_of
from harness.grading.steps.tokens import MAX_DEPTH, MAX_DIGITS, MAX_TOKENS

# `3 hundred - 5` is left alone: the check was measured with `hundred` as a unit.
_MULTIPLIERS = {word: value for word, value in SCALES.items() if word != "hundred"}
_FUNCTIONS = {"gcd": "gcd", "lcm": "lcm", "c": "binom"}
_BRACED_FRACTION = ["frac", "open", "number", "close", "open", "number", "close"]

Parsed = tuple[Node, int]  # what was read, and the index of the token after it


def _whole(value: str | int) -> Node:
    return Node("num", value=Fraction(int(value)))


class Parser:
    """Recursive descent over tokens: `parse(i)` is (node, next index), or None if nothing starts at i."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.tokens = cursor.tokens
        self.kind = cursor.kind
        self.limit = 0  # operators from this token on are left alone

    def parse(self, i: int) -> Parsed | None:
        """The longest expression that starts at token `i`, units included."""
        self.limit = i + MAX_TOKENS
        return self._binary(i, 0)

    def _binary(self, i: int, depth: int, level: int = 0) -> Parsed | None:
        """Operands joined from left to right by the operators of one level: mod, then sums, then products."""
        if level == 3:
            return self._unary(i, depth)
        left = self._binary(i, depth, level + 1)
        while left is not None and left[1] < self.limit:
            op, after = self._operator(left[1], level)
            right = self._tight_fraction(after) if op == "over" else None
            right = right or (self._binary(after, depth, level + 1) if op else None)
            if right is None:
                break
            left = Node(op, (left[0], right[0])), right[1]
        return left

    def _operator(self, i: int, level: int) -> tuple[str, int]:
        """The operator of a level at `i` ("" for none) and the index after it."""
        kind = self.kind(i)
        if level == 0:
            return ("mod" if kind == "mod" and "p" not in self.tokens[i].text[:2] else ""), i + 1
        if kind in (("plus", "minus"), ("times", "over"))[level - 1]:
            return kind, i + 1
        if level == 1:
            return "", i
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

    def _tight_fraction(self, i: int) -> Parsed | None:
        """`1/3` in `25 / 1/3`: written without blanks after a division sign with one, it binds first."""
        if self._is_written_fraction(i) and (top := self._number(i)) and (bottom := self._number(i + 2)):
            return Node("over", (top[0], bottom[0])), self.cursor.after_units(bottom[1])
        return None

    def _is_written_fraction(self, i: int) -> bool:
        """Whether `1/3` stands at `i`, after a blank and without one in it."""
        found = [(token.kind, token.glued) for token in self.tokens[i : i + 3]]
        return found == [("number", False), ("over", True), ("number", True)]

    def _unary(self, i: int, depth: int) -> Parsed | None:
        if depth >= MAX_DEPTH:
            return None
        if self.kind(i) == "minus":
            inner = self._unary(i + 1, depth + 1)
            return inner and (Node("neg", (inner[0],)), inner[1])
        base = self._postfix(i, depth)
        if base is None or self.kind(base[1]) != "power":
            return base
        sign = self.tokens[base[1]].text
        if sign in "²³":
            return Node("power", (base[0], _whole(digit(sign)))), self.cursor.after_units(base[1] + 1)
        exponent = self._unary(base[1] + 1, depth + 1)
        return (Node("power", (base[0], exponent[0])), exponent[1]) if exponent else base

    def _postfix(self, i: int, depth: int) -> Parsed | None:
        operand = self._operand(i, depth)
        if operand is None:
            return None
        node, i = operand
        while self.kind(i) == "bang" and self.tokens[i].glued:
            node, i = Node("factorial", (node,)), i + 1
        right = self._unary(i, depth + 1) if self.cursor.follows_factorial(i) else None
        if right is not None:
            return Node("times", (node, right[0])), right[1]
        while self.kind(i) == "percent":
            node, i = Node("percent", (node,), Fraction(1, 100)), i + 1
        return node, self.cursor.after_units(i)

    def _operand(self, i: int, depth: int) -> Parsed | None:
        kind = self.kind(i)
        if kind == "number":
            return self._number(i)
        if kind == "open":
            return self._group(i, depth)
        if kind in ("frac", "binom"):
            return self._two_groups(i, depth)
        if kind == "call":
            name = _FUNCTIONS[self.tokens[i].text.lstrip("\\").lower()]
            found = self._group(i + 1, depth, "comma", name)
            return (found[0].args[0], found[1]) if found and found[0].args[0].op == name else None
        return self._root(i, depth) if kind == "root" else None

    def _group(self, i: int, depth: int, joint: str = "choose", op: str = "binom") -> Parsed | None:
        """What stands in the bracket or bars at token `i`; with a `joint` in it, two operands of `op`."""
        inner = self._binary(i + 1, depth + 1) if i in self.cursor.closed else None
        if inner and self.kind(inner[1]) == joint and (last := self._binary(inner[1] + 1, depth + 1)):
            inner = Node(op, (inner[0], last[0])), last[1]
        if inner is None or self.kind(inner[1]) != "close":
            return None
        return Node("group" if self.tokens[i].text in "({[" else "abs", (inner[0],)), inner[1] + 1

    def _root(self, i: int, depth: int) -> Parsed | None:
        """`\\sqrt{16}`, `\\sqrt[3]{8}`, `sqrt(16)`, `√16` as a fractional power."""
        j, degree = i + 1, 2
        if self.kind(j) == "open" and self.tokens[j].text == "[":
            if self.kind(j + 1) != "number" or self.tokens[j + 1].text not in list("23456789"):
                return None
            j, degree = j + 3, int(self.tokens[j + 1].text)
        whole = self.kind(j) == "number" and self.tokens[i].text == "√"
        inner = self._number(j) if whole else self._argument(j, depth)  # \\sqrt16 is 6 times the root of 1
        return inner and (Node("power", (inner[0], Node("num", value=Fraction(1, degree)))), inner[1])

    def _number(self, i: int) -> Parsed | None:
        """The literal at token `i`, mixed numbers and scale words (`2 1/2`, `3 million`) included."""
        token = self.tokens[i]
        if len(token.text) > MAX_DIGITS or self.cursor.is_variable(i + 1):
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
        following = self.tokens[i + 1 : i + 8]
        kinds = [token.kind for token in following]
        if self._is_written_fraction(i + 1):
            texts, length = [following[0].text, following[2].text], 3
        elif kinds == _BRACED_FRACTION:
            texts, length = [following[2].text, following[5].text], 7
        elif kinds[:2] == ["frac", "number"]:
            texts, length = list(following[1].text), 2
        else:
            return None
        if len(texts) != 2 or not "".join(texts).isdecimal() or not 0 < int(texts[0]) < int(texts[1]):
            return None
        return Node("num", value=whole + Fraction(int(texts[0]), int(texts[1]))), i + 1 + length

    def _two_groups(self, i: int, depth: int) -> Parsed | None:
        op = "over" if self.kind(i) == "frac" else "binom"
        digits = self.tokens[i + 1].text if self.kind(i + 1) == "number" else ""
        if len(digits) == 2 and digits.isdecimal():  # \\frac12
            return Node(op, (_whole(digits[0]), _whole(digits[1]))), i + 2
        top = self._argument(i + 1, depth)
        bottom = self._argument(top[1], depth) if top else None
        return (Node(op, (top[0], bottom[0])), bottom[1]) if top and bottom else None

    def _argument(self, i: int, depth: int) -> Parsed | None:
        """What a LaTeX command takes: a group, or a bare digit."""
        if self.kind(i) == "open":
            return self._group(i, depth + 1)
        if self.kind(i) == "number" and re.fullmatch(r"\d", self.tokens[i].text):
            return _whole(self.tokens[i].text), i + 1
        return None
