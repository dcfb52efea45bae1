r"""The role of each token in its statement, as a letter: what may be a statement is a pattern of letters.

`We had 2 boxes - 1 box = 1 box` is `wwn_-n_=nw`. Operators stand for themselves. n is a number, N one that
nothing joins to the operand before it, [ such a bracket. w is prose, v algebra, ? what makes algebra of the
number after it, _ what a formula leaves out: units that an operator follows, and layout inside a statement.
"""

from __future__ import annotations

import re

from harness.grading.lexicon import SCALES
from harness.grading.steps.tokens import Token

_OPERAND_STARTS = ("number", "open", "frac", "binom", "call", "root")
END = Token("end", " ", 0, 0, False)
# `3 hundred - 5` is left alone: the check was measured with `hundred` as a unit.
MULTIPLIERS = {word: value for word, value in SCALES.items() if word != "hundred"}
_ROLES = dict(
    re.findall(
        r"(\w+) (\S)",
        """plus + minus - times * over / power ^ mod m open ( close ) percent % choose c comma ;
        equals = approx = equiv = frac f binom f root r call g""",
    )
)
_OPERATORS = "+-*/^m"
_OPERAND_ENDS = "nN)%!sv"
_SIGNS = ("plus", "minus", "times", "equals", "power")
_PRODUCT = re.compile(r"(?!kg|[mck]m|ml|ft|in|lb|oz|hr|st|nd|rd|th|am|pm|min|hrs|lbs|mph|sq)[A-Za-z]{2,3}")
# LaTeX commands that end or surround a formula; after any other one it goes on.
_NEUTRAL = frozenset(
    re.findall(
        r"\w+",
        """textbf textit quad qquad implies Rightarrow Longrightarrow rightarrow to iff
        therefore because neq ne le leq ge geq lt gt begin end cr hspace vspace boxed tag nonumber checkmark
        square blacksquare item label displaystyle textstyle hline intertext mid bullet""",
    )
)
# Unit words after an operand, and what they stand before: `miles/hour`, `-pound bags`, `cm^2`.
_UNITS = re.compile(r"(?<=[nN)%!s])(?:_?[/h]?w(?:\^[nN])?){1,8}(?=_*[-b+*x/=)m])")
# Words between a sum's sign and its number: `5 girls + his 1 teacher`.
_NAMED_OPERAND = re.compile(r"(?<=\+)w{1,3}(?=[nN])")
_CALL = re.compile(r"(?<=g\()[^ w;=(]*;[^ w;=()]*(?=\))")


def roles(tokens: list[Token]) -> str:
    """One letter a token."""
    reader = _Reader(tokens)
    for i in range(len(tokens)):
        reader.found += reader.role(i)
    found = _UNITS.sub(lambda units: "_" * len(units[0]), reader.found)
    # What joins if it follows a unit: the `x` of `2 boxes x 3`, the minus of `5 boys - 2 boys`.
    found = re.sub("(?<=_)x", "*", re.sub("(?<=_)b", "-", found))
    found = _NAMED_OPERAND.sub(lambda words: "v" * len(words[0]), re.sub("[bx]", "v", found))
    return re.sub("[h;]", " ", _CALL.sub(lambda call: call[0].replace(";", ","), found))


class _Reader:
    """The roles of tokens by themselves and their neighbours, from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = [*tokens, END, END]  # so that what stands before the first one is END too
        self.formulas = any(token.kind == "delim" for token in tokens)
        self.variables = _variables(self.tokens)
        self.found = ""

    def role(self, i: int) -> str:
        """The role of token `i`."""
        token, after, before = self.tokens[i], self.tokens[i + 1], self.found[-1:] or " "
        kind = token.kind
        if kind == "number":
            return self.number(i, before)
        if kind == "word":
            return self.word(i, before)
        if kind == "minus":
            return self.minus(i, before)
        if kind in ("delim", "newline"):
            return self.layout(kind, before, _ROLES.get(after.kind, " "))
        if kind == "bang" or token.text in "²³":
            return "!" if token.glued and before in _OPERAND_ENDS else " "
        if kind == "open" and before in "nN%" and not token.glued and not self.formulas:
            return "["
        if kind != "other":
            return _ROLES[kind]
        if token.text in "\\@#_∘⊕⊗★♦±" or (after.glued and _is_command(after)):
            return "v"
        return (
            "?" if after.glued and (token.text in "<>|&" or (token.text == ":" and before in "nN")) else " "
        )

    def number(self, i: int, before: str) -> str:
        """N after another operand, unless it multiplies that or makes a mixed number."""
        token, after, earlier = self.tokens[i], self.tokens[i + 1], self.tokens[i - 2].kind
        if before not in "nN)%!s":
            return "n"
        if before in "nN":
            mixed = after.text == "/" and after.glued and self.tokens[i + 2].glued
            return "n" if not token.glued and (mixed or earlier in ("power", "frac", "binom")) else "N"
        if before == ")" and not token.glued and earlier == "number":
            return "v"  # `(1/2) 20`, or a number of a list
        return "n" if before in ")!" and (token.glued or (before == "!" and after.kind == "bang")) else "N"

    def minus(self, i: int, before: str) -> str:
        """A hyphen, a sign, or (b) what takes from the word before it: `x - 5`, but not `is -5 + 8`."""
        word, token, after = self.tokens[i - 1], self.tokens[i], self.tokens[i + 1]
        if token.text == "-" and token.glued and after.kind == "word" and len(after.text) > 1:
            return "h"
        if word.kind != "word" or before in _OPERAND_ENDS:
            return "-"
        begins = word.foreign and self.tokens[i - 2].kind != "number"
        return "b" if (token.glued and not begins) or not after.glued else "-"

    def layout(self, kind: str, before: str, after: str) -> str:
        """Inside a statement a dollar between formulas and the end of a line beside its sign are left out."""
        if "=" in (before, after):
            return "_"
        if kind == "newline":
            return "v" if before in _OPERATORS else " "
        return "_" if before in _OPERATORS or (before in _OPERAND_ENDS and after in "+-*/") else " "

    def word(self, i: int, before: str) -> str:
        """A sign, a scale, a unit or prose (w), the end of a statement, or algebra."""
        token, after = self.tokens[i], self.tokens[i + 1]
        text = token.text
        if text in ("x", "X", "of") and after.kind in _OPERAND_STARTS:
            return "*" if before in _OPERAND_ENDS else " " if text == "of" else "x"
        if text in MULTIPLIERS and before in "nN":
            return "s"
        if text.startswith(("\\text", "\\mathrm", "\\mbox")) or token.foreign:
            return "w"
        if text[0] == "\\":
            return "v" if _is_command(token) else " "
        named = after.kind in ("open", "root") and (len(text) == 1 or text.isupper())  # `f (2)`
        if named or "_" in text or (token.glued and before == ")"):
            return "v"
        if len(text) == 1:
            return self.letter(i, before)
        product = self.formulas and token.glued and before in "nN" and _PRODUCT.fullmatch(text)
        return "v" if product else "w"

    def letter(self, i: int, before: str) -> str:
        """A unit, a variable (as `a` is in a text with formulas), or no part of a statement."""
        token = self.tokens[i]
        units = "" if token.text in self.variables else "gklmshLA" + "a" * (not self.formulas)
        if token.glued and before in "nN":
            return "w" if token.text in "gkLl" and units else "v"
        if before in _OPERATORS and not (before == "/" and self.tokens[i - 2].kind == "word"):
            return "v"
        return "w" if token.text in units else " "


def _is_command(token: Token) -> bool:
    """Whether a token is a LaTeX command with which a formula goes on."""
    return token.kind == "word" and token.text[0] == "\\" and token.text[1:].strip() not in _NEUTRAL


def _variables(tokens: list[Token]) -> set[str]:
    """Letters that stand for a number somewhere in the text: `L + 8`, `20 - g`; never the article a."""
    found = set()
    for i, token in enumerate(tokens):
        if token.kind == "word" and len(token.text) == 1 and token.text not in "aA":
            before = tokens[i - 1].kind
            counts = before not in ("number", "close") and tokens[i + 1].kind in _SIGNS
            if counts or before in (*_SIGNS, "open"):
                found.add(token.text)
    return found
