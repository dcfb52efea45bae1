"""What stands around an expression in running text: whether it is arithmetic on its own or a part of more."""

from __future__ import annotations

import re

from harness.grading.steps.arithmetic import Parser
from harness.grading.steps.tokens import OPERAND_STARTS, Token

# Before an expression these mean that it goes on to the left with something that is not a number: x + 5 = 8.
DANGLING = frozenset(["plus", "minus", "times", "over", "power", "mod"])
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


def continues(parser: Parser, i: int) -> bool:
    """Whether what stands before token `i` makes it the tail of something that is not arithmetic."""
    if i == 0:
        return False
    before, token = parser.tokens[i - 1], parser.tokens[i]
    if before.kind in (*DANGLING, "root") or (before.kind == "other" and before.text in _FOREIGN_OPERATORS):
        return True
    if before.kind == "close" and token.kind != "minus":
        return token.glued or token.kind in ("open", "root") or parser.tokens[i - 2].kind == "number"
    if token.kind == "open" and before.kind in ("number", "percent"):
        return True  # `1/2 (68)`
    if token.kind == "open" and before.kind == "bang" and token.glued:
        return True  # `3!(2 + 1)`
    if token.kind in ("open", "root") and before.kind == "word" and len(before.text) == 1:
        return True  # `f (2)`
    if token.text == "\\sqrt" and before.kind == "word" and before.text[0] != "\\" and parser.formulas:
        return True  # `AB \\sqrt{4}`
    if before.text == ":" and token.glued and i > 1 and parser.tokens[i - 2].kind == "number":
        return True  # 7:50 + 30 minutes
    if before.kind == "word" and _leads_on(parser, i - 1):
        return True
    if token.kind == "minus":  # `x - 5`; but `is -5 + 8` and `= -5`
        return before.kind in ("word", "number", "close", "percent") and not (
            before.kind == "word"
            and not token.glued
            and i + 1 < len(parser.tokens)
            and parser.tokens[i + 1].glued
        )
    return before.kind in ("word", "call", "other") and token.glued and before.text[-1] not in ":;.\"'`~"


def _leads_on(parser: Parser, i: int) -> bool:
    """Whether the word at `i` belongs to an expression: `\\pi 5`, `¾ x 3/3`, `5 girls + his 1 teacher`."""
    if _is_command(parser.tokens[i]):
        return True
    if parser.tokens[i].text in ("x", "X") and i > 0 and parser.tokens[i - 1].kind not in ("word", "newline"):
        return True
    first = i
    while first > 0 and i - first < MAX_WORDS_BACK and parser.tokens[first].kind == "word":
        first -= 1
    return parser.tokens[first].kind == "plus"


def goes_on(parser: Parser, i: int) -> bool:
    """Whether an expression that ends before token `i` goes on with a variable: `(5/4)x`, `15 + y`."""
    parser.limit = len(parser.tokens)
    kind = parser.kind(i)
    if kind == "end":
        return False
    token = parser.tokens[i]
    if kind == "word":
        glued = token.glued and parser.tokens[i - 1].kind == "close" and token.text[0] != "\\"
        return glued or _is_command(token)
    if kind == "open":
        return token.text == "(" and (token.glued or parser.formulas) and parser.kind(i + 1) != "mod"
    if token.text == "." and token.glued and parser.kind(i + 1) == "word":
        return parser.tokens[i + 1].text.startswith("\\overline")
    if kind in ("power", "frac", "binom", "call", "root") or (
        kind == "other" and token.text in _FOREIGN_OPERATORS
    ):
        return True
    if kind not in DANGLING or kind == "mod":
        return False
    after = parser.tokens[i + 1] if parser.kind(i + 1) != "end" else None
    if after is None or after.kind != "word":
        return after is not None and after.kind in (*OPERAND_STARTS, "newline")
    return len(after.text) == 1 or _is_command(after)


def remainder_after(text: str, end: int) -> int | None:
    """What a quotient that ends at `end` leaves: `14 remainder 2`, `3 R2`, `3 with a remainder of 2`."""
    match = _REMAINDER.match(text, end)
    return int(match[1]) if match else None


def _is_command(token: Token) -> bool:
    return token.text[0] == "\\" and token.text[1:].split("{")[0].strip() not in _NEUTRAL
