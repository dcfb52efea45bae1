"""Questions about the token at a place: does it multiply, is it a variable, where do unit words end?"""

from __future__ import annotations

import re

from harness.grading.steps.tokens import OPERAND_STARTS, Token, closed_groups, variables

MAX_UNIT_WORDS = 6
_NOT_UNITS = frozenset(["is", "so", "then", "or", "but", "which", "because", "if", "was", "are", "get"])
_PRODUCT = re.compile(r"(?!kg|[mck]m|ml|ft|in|lb|oz|hr|st|nd|rd|th|am|pm|min|hrs|lbs|mph|sq)[A-Za-z]{2,3}")
_AFTER_UNITS = frozenset(["times", "over", "plus", "minus", "equals", "approx", "equiv", "close", "mod"])
_LETTER_UNITS = frozenset("agklmshLA")
_TEXT_COMMANDS = ("\\text", "\\mathrm", "\\mbox")


class Cursor:
    """The tokens of a text, of which those before `limit` can be seen."""

    def __init__(self, tokens: list[Token]) -> None:
        """Show nothing yet: `limit` is 0."""
        self.tokens = tokens
        self.limit = 0
        self.closed = closed_groups(tokens)
        self.variables = variables(tokens)
        self.formulas = any(token.kind == "delim" for token in tokens)

    def kind(self, i: int) -> str:
        """The kind of token `i`; "end" past the last one."""
        return self.tokens[i].kind if i < self.limit else "end"

    def is_multiplication_sign(self, i: int) -> bool:
        """Whether the word at `i` is an `x` or `of` that multiplies: an operand follows."""
        signs = ("x", "X", "of")
        return self.kind(i) == "word" and self.tokens[i].text in signs and self.kind(i + 1) in OPERAND_STARTS

    def follows_operand(self, i: int) -> bool:
        """Whether a bracket at `i` multiplies: `5(3)`; in a text with formulas also `\\frac{1}{2} (68)`."""
        return (self.tokens[i].glued or self.formulas) and self.tokens[i - 1].kind in ("number", "close")

    def follows_factor(self, i: int) -> bool:
        """Whether a number at `i` multiplies: `(2^3)5`, and after a blank `2^6 7^2`."""
        if self.tokens[i].glued:
            return self.tokens[i - 1].kind == "close"
        return self.kind(i + 1) == "power" and i > 1 and self.tokens[i - 2].kind == "power"

    def follows_factorial(self, i: int) -> bool:
        """Whether a factor follows a factorial: `3!3!`, `3!(6-3)!`. Such products bind before a division."""
        if i == 0 or self.tokens[i - 1].kind != "bang" or self.kind(i) not in ("number", "open"):
            return False
        return self.tokens[i].glued or (self.kind(i) == "number" and self.kind(i + 1) == "bang")

    def is_variable(self, i: int) -> bool:
        """Whether letters glued to a number are variables: no unit (800g, 5kg), no sign (4x3).

        More than one letter is a product of variables only in a text with formulas (2xy).
        """
        token = self.tokens[i]
        if token.kind != "word" or not token.glued or self.is_multiplication_sign(i):
            return False
        if len(token.text) == 1:
            return token.text not in "gkLl" or token.text in self.variables
        return "_" in token.text or (self.formulas and _PRODUCT.fullmatch(token.text) is not None)

    def after_units(self, i: int) -> int:
        """The index after unit words at `i` (`miles/hour`, `-pound bags`); `i` if no operator follows."""
        j = self._end_of_unit_words(i)
        if j is None:
            return i
        goes_on = self.kind(j) in _AFTER_UNITS
        # `2 chairs for a total of 16*2`: after unit words `of` does not multiply
        multiplies = self.is_multiplication_sign(j) and (j == i or self.tokens[j].text != "of")
        return j if goes_on or multiplies else i

    def _end_of_unit_words(self, i: int) -> int | None:
        """The index after the words and their powers at `i`; None where one of them cannot be a unit."""
        j, words = i, 0
        while words <= MAX_UNIT_WORDS:
            if self.kind(j) == "word" and not self.is_multiplication_sign(j):
                if not self._may_be_unit(j):
                    return None
                j, words = j + 1, words + 1
                if self.kind(j) == "power" and self.kind(j + 1) == "number":
                    j += 2
            elif self._joins_unit(j):
                j += 1
            else:
                break
        return j

    def _may_be_unit(self, i: int) -> bool:
        token = self.tokens[i]
        word = token.text
        if "_" in word or (token.glued and self.tokens[i - 1].kind == "close"):
            return False  # a variable: \\frac{1}{2}bh
        if len(word) == 1:
            article = word == "a" and self.formulas  # \\frac92a
            return word in _LETTER_UNITS and word not in self.variables and not article
        return word.lower() not in _NOT_UNITS and (word[0] != "\\" or word.startswith(_TEXT_COMMANDS))

    def _joins_unit(self, i: int) -> bool:
        """Whether a unit goes on at `i` with `/hour` or `-pound`; ` - x` does not go on."""
        kind = self.kind(i)
        if kind not in ("over", "minus") or self.kind(i + 1) != "word" or self.tokens[i].text not in "/-":
            return False
        long = len(self.tokens[i + 1].text) > 1  # `20-g` subtracts
        return kind == "over" or (self.tokens[i].glued and self.tokens[i + 1].glued and long)
