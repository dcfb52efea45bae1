"""Whether an expression in running text is arithmetic on its own or a part of something else."""

from __future__ import annotations

import re

from harness.grading.steps.cursor import Cursor
from harness.grading.steps.tokens import OPERAND_STARTS, Token

# Operators whose other operand is not a number where no expression could be read: `x + 5 = 8`.
_OPERATORS = frozenset(["plus", "minus", "times", "over", "power", "mod"])
_BEFORE_OPERAND = _OPERATORS | {"root"}
_AFTER_OPERAND = frozenset(["power", "frac", "binom", "call", "root"])
_FOREIGN_OPERATORS = frozenset("\\@#_∘⊕⊗★♦")
MAX_WORDS_BACK = 3
# LaTeX commands that end or surround a formula; after any other one it goes on.
_NEUTRAL = frozenset(
    re.findall(
        r"\w+",
        """text textbf textit mathrm mbox quad qquad implies Rightarrow Longrightarrow rightarrow to iff
        therefore because neq ne le leq ge geq lt gt begin end hspace vspace boxed tag nonumber checkmark
        square blacksquare item label displaystyle textstyle hline intertext mid bullet""",
    )
)

_REMAINDER = re.compile(
    r"[\s,$]*(?:\\text\s*\{\s*)?(?:with\s+)?(?:an?\s+)?(?:[Rr]emainder|[Rr]em\.|[Rr](?=[\s}]*\d))(?:\s+(?:of|is))?[\s}$=]*(\d{1,18})(?![\w.])"
)


def continues(cursor: Cursor, i: int) -> bool:
    """Whether what stands before token `i` makes it the tail of something that is not arithmetic."""
    if i == 0:
        return False
    before, token = cursor.tokens[i - 1], cursor.tokens[i]
    if before.kind in _BEFORE_OPERAND or (before.kind == "other" and before.text in _FOREIGN_OPERATORS):
        return True
    if before.kind == "close" and token.kind != "minus":
        return _follows_group(cursor, i)
    if _is_factor(before, token) or _is_minute(cursor, i):
        return True
    if before.kind == "word" and _word_goes_on(cursor, i):
        return True
    if token.kind == "minus":
        return _subtracts(cursor, i)
    return before.kind in ("word", "call", "other") and token.glued and before.text[-1] not in ":;.\"'`~"


def _follows_group(cursor: Cursor, i: int) -> bool:
    """Whether token `i` goes on with the bracket that closes before it: `(x + 1)5`, `(x) (5 + 1)`."""
    token = cursor.tokens[i]
    return token.glued or token.kind in ("open", "root") or cursor.tokens[i - 2].kind == "number"


def _is_factor(before: Token, token: Token) -> bool:
    """Whether a bracket multiplies what the parser did not take with it: `1/2 (68)`, `3!(2 + 1)`."""
    if token.kind != "open":
        return False
    return before.kind in ("number", "percent") or (before.kind == "bang" and token.glued)


def _is_minute(cursor: Cursor, i: int) -> bool:
    """Whether token `i` is the end of a time: `7:50 + 30 minutes`."""
    colon = cursor.tokens[i - 1].text == ":" and cursor.tokens[i].glued
    return colon and i > 1 and cursor.tokens[i - 2].kind == "number"


def _word_goes_on(cursor: Cursor, i: int) -> bool:
    """Whether the word before token `i` belongs to its expression: `f (2)`, `AB \\sqrt{4}`, `\\pi 5`."""
    word, token = cursor.tokens[i - 1].text, cursor.tokens[i]
    if token.kind in ("open", "root") and len(word) == 1:
        return True
    return (token.text == "\\sqrt" and word[0] != "\\" and cursor.formulas) or _leads_on(cursor, i - 1)


def _subtracts(cursor: Cursor, i: int) -> bool:
    """Whether the minus at `i` takes from what stands before it: `x - 5`; but `is -5 + 8` and `= -5`."""
    before = cursor.tokens[i - 1].kind
    if before != "word":
        return before in ("number", "close", "percent")
    sign = not cursor.tokens[i].glued and i + 1 < len(cursor.tokens) and cursor.tokens[i + 1].glued
    return not sign


def _leads_on(cursor: Cursor, i: int) -> bool:
    """Whether the word at `i` leads an expression on: `\\pi 5`, `¾ x 3/3`, `5 girls + his 1 teacher`."""
    tokens = cursor.tokens
    if _is_command(tokens[i]):
        return True
    if tokens[i].text in ("x", "X") and i > 0 and tokens[i - 1].kind not in ("word", "newline"):
        return True
    first = i
    while first > 0 and i - first < MAX_WORDS_BACK and tokens[first].kind == "word":
        first -= 1
    return tokens[first].kind == "plus"


def goes_on(cursor: Cursor, i: int) -> bool:
    """Whether an expression that ends before token `i` goes on with a variable: `(5/4)x`, `15 + y`."""
    cursor.limit = len(cursor.tokens)
    kind = cursor.kind(i)
    if kind == "end":
        return False
    if kind in _AFTER_OPERAND:
        return True
    token = cursor.tokens[i]
    if kind == "word":
        glued = token.glued and cursor.tokens[i - 1].kind == "close" and token.text[0] != "\\"
        return glued or _is_command(token)
    if kind == "open":
        return token.text == "(" and (token.glued or cursor.formulas) and cursor.kind(i + 1) != "mod"
    if kind == "other":
        return token.text in _FOREIGN_OPERATORS or _is_overlined(cursor, i)
    return kind in _OPERATORS and kind != "mod" and _operand_follows(cursor, i + 1)


def _is_overlined(cursor: Cursor, i: int) -> bool:
    """Whether `i` is the point of a repeating decimal, `0.\\overline{3}`."""
    point = cursor.tokens[i].text == "." and cursor.tokens[i].glued and cursor.kind(i + 1) == "word"
    return point and cursor.tokens[i + 1].text.startswith("\\overline")


def _operand_follows(cursor: Cursor, i: int) -> bool:
    """Whether an operand stands at `i`, after an operator: a number, a variable, or the next line's."""
    if cursor.kind(i) != "word":
        return cursor.kind(i) in (*OPERAND_STARTS, "newline")
    return len(cursor.tokens[i].text) == 1 or _is_command(cursor.tokens[i])


def remainder_after(text: str, end: int) -> int | None:
    """The remainder that follows a quotient: `14 remainder 2`, `3 R2`, `3 with a remainder of 2`."""
    match = _REMAINDER.match(text, end)
    return int(match[1]) if match else None


def _is_command(token: Token) -> bool:
    return token.text[0] == "\\" and token.text[1:].split("{")[0].strip() not in _NEUTRAL
