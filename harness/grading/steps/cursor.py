r"""Questions about the token at a place: does it multiply, is it a variable, where do unit words end,
and is what begins or ends there a part of something that is no arithmetic?"""

from __future__ import annotations

import re
from itertools import pairwise
from unicodedata import category

from harness.grading.steps.tokens import MAX_TOKENS, OPERAND_STARTS, REPEATING, Token

MAX_UNIT_WORDS = 6
MAX_WORDS_BACK = 3
END = Token("end", " ", 0, 0, False)
_NOT_UNITS = frozenset(["is", "so", "then", "or", "but", "which", "because", "if", "was", "are", "get"])
_PRODUCT = re.compile(r"(?!kg|[mck]m|ml|ft|in|lb|oz|hr|st|nd|rd|th|am|pm|min|hrs|lbs|mph|sq)[A-Za-z]{2,3}")
_AFTER_UNITS = frozenset(["times", "over", "plus", "minus", "equals", "approx", "equiv", "close", "mod"])
_SIGNS = ("plus", "minus", "times", "equals", "power")
# Operators whose other operand is not a number where no expression could be read: `x + 5 = 8`.
_OPERATORS = frozenset(["plus", "minus", "times", "over", "power", "mod"])
_AFTER_OPERAND = frozenset(["power", "frac", "binom", "call", "root"])
_FOREIGN_OPERATORS = frozenset([*"\\@#_∘⊕⊗★♦", REPEATING])
# LaTeX commands that end or surround a formula; after any other one it goes on.
_NEUTRAL = frozenset(
    re.findall(
        r"\w+",
        """text textbf textit mathrm mbox quad qquad implies Rightarrow Longrightarrow rightarrow to iff
        therefore because neq ne le leq ge geq lt gt begin end hspace vspace boxed tag nonumber checkmark
        square blacksquare item label displaystyle textstyle hline intertext mid bullet""",
    )
)


class Cursor:
    """The tokens of a text and END, with the brackets that close and the letters that are variables."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = [*tokens, END]  # so that what stands before the first one is END too
        self.closed = _closed_groups(tokens)
        self.variables = _variables(self.tokens)
        self.formulas = any(token.kind == "delim" for token in tokens)

    def kind(self, i: int) -> str:
        """The kind of token `i`; "end" past the last one."""
        return self.tokens[i].kind if i < len(self.tokens) else "end"

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
        if self.tokens[i - 1].kind != "bang" or self.kind(i) not in ("number", "open"):
            return False
        return self.tokens[i].glued or (self.kind(i) == "number" and self.kind(i + 1) == "bang")

    def is_variable(self, i: int) -> bool:
        """Whether letters glued to a number are variables: no unit (800g, 5kg, 5元), no sign (4x3).

        More than one letter is a product of variables only in a text with formulas (2xy).
        """
        token = self.tokens[i]
        if not token.glued or token.foreign or token.kind != "word" or self.is_multiplication_sign(i):
            return False
        if len(token.text) == 1:
            return token.text not in "gkLl" or token.text in self.variables
        return "_" in token.text or (self.formulas and _PRODUCT.fullmatch(token.text) is not None)

    def after_units(self, i: int) -> int:
        """The index after unit words at `i` (`miles/hour`, `-pound bags`); `i` if no operator follows."""
        j, words = i, 0
        while words <= MAX_UNIT_WORDS:
            if self.kind(j) == "word" and not self.is_multiplication_sign(j):
                if not self._may_be_unit(j):
                    return i
                j, words = j + 1, words + 1
                if self.kind(j) == "power" and self.kind(j + 1) == "number":
                    j += 2
            elif self._joins_unit(j):
                j += 1
            else:
                break
        # `2 chairs for a total of 16*2`: after unit words `of` does not multiply
        multiplies = self.is_multiplication_sign(j) and (j == i or self.tokens[j].text != "of")
        return j if self.kind(j) in _AFTER_UNITS or multiplies else i

    def _may_be_unit(self, i: int) -> bool:
        token = self.tokens[i]
        word = token.text
        if token.foreign:
            return True
        if "_" in word or (token.glued and self.tokens[i - 1].kind == "close"):
            return False  # a variable: \\frac{1}{2}bh
        if len(word) == 1:  # in a text with formulas `a` is one: \\frac92a
            return word in "gklmshLA" + "a" * (not self.formulas) and word not in self.variables
        command = word[0] == "\\" and not word.startswith(("\\text", "\\mathrm", "\\mbox"))
        return word.lower() not in _NOT_UNITS and not command

    def _joins_unit(self, i: int) -> bool:
        """Whether a unit goes on at `i` with `/hour` or `-pound`; neither ` - x` nor `20-g` goes on."""
        if self.kind(i + 1) != "word":
            return False
        sign, word = self.tokens[i : i + 2]
        return sign.text == "/" or (sign.text == "-" and sign.glued and word.glued and len(word.text) > 1)

    def continues(self, i: int) -> bool:
        """Whether what stands before token `i` makes it the tail of something that is not arithmetic."""
        before, token = self.tokens[i - 1], self.tokens[i]
        if before.kind in (*_OPERATORS, "root") or before.text in _FOREIGN_OPERATORS:
            return True
        if before.kind == "close" and token.kind != "minus":  # `(x + 1)5`, `(x) (5 + 1)`
            return token.glued or token.kind in ("open", "root") or self.tokens[i - 2].kind == "number"
        if token.kind == "open" and before.kind in ("number", "percent", *["bang"] * token.glued):
            return True  # it multiplies what the parser did not take with it: `1/2 (68)`, `3!(2 + 1)`
        if before.text == ":" and token.glued and self.tokens[i - 2].kind == "number":
            return True  # the end of a time: `7:50 + 30 minutes`
        if before.kind == "word" and self._word_goes_on(i):
            return True
        if token.kind == "minus":
            return self._subtracts(i)
        return before.kind in ("word", "call", "other") and token.glued and not _parts(before)

    def _word_goes_on(self, i: int) -> bool:
        r"""Whether the word before token `i` belongs to its expression.

        `f (2)`, `AB \sqrt{4}`, `\pi 5`, `¾ x 3/3`, `5 girls + his 1 teacher`.
        """
        before, token, earlier = self.tokens[i - 1], self.tokens[i], self.tokens[i - 2].kind
        if _is_command(before) or (before.text in ("x", "X") and earlier not in ("word", "newline", "end")):
            return True
        if token.kind in ("open", "root") and len(before.text) == 1 and not before.foreign:
            return True
        if token.text == "\\sqrt" and before.text[0] != "\\" and self.formulas:
            return True
        back = self.tokens[max(0, i - 1 - MAX_WORDS_BACK) : i]
        return next((word.kind for word in reversed(back) if word.kind != "word"), "") == "plus"

    def _subtracts(self, i: int) -> bool:
        """Whether the minus at `i` takes from what stands before it: `x - 5`; but `is -5 + 8` and `= -5`."""
        before = self.tokens[i - 1]
        if before.kind != "word":
            return before.kind in ("number", "close", "percent")
        begins = before.foreign and self.tokens[i - 2].kind != "number"
        return (self.tokens[i].glued and not begins) or not self.tokens[i + 1].glued

    def goes_on(self, i: int) -> bool:
        """Whether an expression that ends before token `i` goes on with a variable: `(5/4)x`, `15 + y`."""
        token, kind = self.tokens[i], self.kind(i)
        if kind == "word":
            glued = token.glued and self.tokens[i - 1].kind == "close" and token.text[0] != "\\"
            return (glued and not token.foreign) or _is_command(token)
        if kind == "open":
            return token.text == "(" and (token.glued or self.formulas) and self.kind(i + 1) != "mod"
        if kind in _OPERATORS - {"mod", "power"}:
            return self._operand_follows(i + 1)
        return kind in _AFTER_OPERAND or token.text in _FOREIGN_OPERATORS

    def _operand_follows(self, i: int) -> bool:
        """Whether an operand stands at `i`, after an operator: a number, a variable, or the next line's."""
        if self.kind(i) != "word":
            return self.kind(i) in (*OPERAND_STARTS, "newline")
        return len(self.tokens[i].text) == 1 or _is_command(self.tokens[i])


def _parts(token: Token) -> bool:
    """Whether what is glued to this begins anew: after a colon, `，` or a word that names no variable."""
    last = token.text[-1]
    return token.foreign or last in ":;.\"'`~" or (last > "\x7f" and category(last)[0] == "P")


def _is_command(token: Token) -> bool:
    return token.text[0] == "\\" and token.text[1:].split("{")[0].strip() not in _NEUTRAL


def _variables(tokens: list[Token]) -> set[str]:
    """Letters that stand for a number somewhere in the text: `L + 8`, `20 - g`; never the article a."""
    found = set()
    for i, (token, after) in enumerate(pairwise(tokens)):
        if token.kind == "word" and len(token.text) == 1 and token.text not in "aA":
            before = tokens[i - 1].kind
            counted = before in ("number", "close")
            if before in (*_SIGNS, "open") or (after.kind in _SIGNS and not counted):
                found.add(token.text)
    return found


def _closed_groups(tokens: list[Token]) -> set[int]:
    """Brackets that close within MAX_TOKENS: no time is spent on the others."""
    closed: set[int] = set()
    pending: list[int] = []
    for i, token in enumerate(tokens):
        if token.kind == "open":
            pending.append(i)
        elif token.kind == "close" and pending and i - (opened := pending.pop()) <= MAX_TOKENS:
            closed.add(opened)
    return closed
