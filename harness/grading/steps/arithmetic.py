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
from harness.grading.steps.quantities import number_of
from harness.grading.steps.tokens import MAX_DEPTH, MAX_DIGITS, MAX_TOKENS, tokenize

# `3 hundred - 5` is left alone: the check was measured with `hundred` as a unit.
_MULTIPLIERS = {word: value for word, value in SCALES.items() if word != "hundred"}
_FUNCTIONS = {"gcd": "gcd", "lcm": "lcm", "c": "binom"}
_BRACED_FRACTION = ["frac", "open", "number", "close", "open", "number", "close"]

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
    except (ArithmeticError, Uncheckable):
        return None


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

        def operand(j: int) -> Parsed | None:
            return self._binary(j, depth, level + 1) if level < 2 else self._unary(j, depth)

        left = operand(i)
        while left is not None and left[1] < self.limit:
            op, after = self._operator(left[1], level)
            right = self._tight_fraction(after) if op == "over" else None
            right = right or (operand(after) if op else None)
            if right is None:
                break
            left = Node(op, (left[0], right[0])), right[1]
        return left

    def _operator(self, i: int, level: int) -> tuple[str, int]:
        """The operator of a level at `i` ("" for none) and the index after it."""
        kind = self.kind(i)
        if level == 2:
            return self._multiplication(i)
        found = kind in ("plus", "minus") if level else kind == "mod" and "p" not in self.tokens[i].text[:2]
        return (kind if found else ""), i + 1

    def _tight_fraction(self, i: int) -> Parsed | None:
        """`1/3` in `25 / 1/3`: written without blanks after a division sign with one, it binds first."""
        if not self._is_written_fraction(i):
            return None
        top, bottom = self._number(i), self._number(i + 2)
        if top is None or bottom is None:
            return None
        return Node("over", (top[0], bottom[0])), self.cursor.after_units(bottom[1])

    def _is_written_fraction(self, i: int) -> bool:
        """Whether `1/3` stands at `i`, after a blank and without one in it."""
        found = [(token.kind, token.glued) for token in self.tokens[i : i + 3]]
        return found == [("number", False), ("over", True), ("number", True)]

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
            node, i = Node("percent", (node,), Fraction(1, 100)), i + 1
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
        inner = self._binary(i + 1, depth + 1)
        if inner is not None and self.kind(inner[1]) == "choose":
            lower = self._binary(inner[1] + 1, depth + 1)
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
        if inner is None:  # \\sqrt16 is 6 times the root of 1
            return None
        return Node("power", (inner[0], Node("num", value=1 / degree))), inner[1]

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
        if self._is_written_fraction(i + 1):
            texts, end = [following[0].text, following[2].text], i + 4
        elif [token.kind for token in following] == _BRACED_FRACTION:
            texts, end = [following[2].text, following[5].text], i + 8
        elif [token.kind for token in following[:2]] == ["frac", "number"]:
            texts, end = list(following[1].text), i + 3
        else:
            return None
        if (
            len(texts) != 2
            or not all(text.isdecimal() for text in texts)
            or not 0 < int(texts[0]) < int(texts[1])
        ):
            return None
        return Node("num", value=whole + Fraction(int(texts[0]), int(texts[1]))), end

    def _two_groups(self, i: int, depth: int) -> Parsed | None:
        op = "over" if self.kind(i) == "frac" else "binom"
        digits = self.tokens[i + 1].text if self.kind(i + 1) == "number" else ""
        if len(digits) == 2 and digits.isdecimal():  # \\frac12
            return Node(op, tuple(Node("num", value=Fraction(int(digit))) for digit in digits)), i + 2
        top = self._argument(i + 1, depth)
        bottom = self._argument(top[1], depth) if top else None
        return (Node(op, (top[0], bottom[0])), bottom[1]) if top and bottom else None

    def _argument(self, i: int, depth: int) -> Parsed | None:
        """What a LaTeX command takes: a group, or a bare digit."""
        if self.kind(i) == "open":
            return self._operand(i, depth + 1)
        if self.kind(i) == "number" and self.tokens[i].text.isdecimal() and len(self.tokens[i].text) == 1:
            return Node("num", value=Fraction(int(self.tokens[i].text))), i + 1
        return None

    def _call(self, i: int, depth: int) -> Parsed | None:
        name = _FUNCTIONS[self.tokens[i].text.lstrip("\\").lower()]
        first = self._binary(i + 2, depth + 1) if i + 1 in self.cursor.closed else None
        second = self._binary(first[1] + 1, depth + 1) if first and self.kind(first[1]) == "comma" else None
        if first is None or second is None or self.kind(second[1]) != "close":
            return None
        return Node(name, (first[0], second[0])), second[1] + 1
