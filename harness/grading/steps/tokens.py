"""Running text as tokens of arithmetic."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import NamedTuple

MAX_DIGITS = 60  # of a literal
MAX_DEPTH = 20  # of brackets
OPERAND_STARTS = frozenset(["number", "open", "frac", "binom", "call", "root"])


class Token(NamedTuple):
    """A piece of `text[start:end]`; `glued` says that no blank stands before it."""

    kind: str
    text: str
    start: int
    end: int
    glued: bool


# `1)` and `(1)` before the first operand of a line; not `(5) + 3` or `(5)(3)`, nor the end of a bracket.
_NUMBERING = (
    r"(?:\d{1,2}\.?\)[ \t]*(?=-?\$?(?:\d|\(|\\frac|\\sqrt))|\(\d{1,2}\)[ \t]+(?=-?\$?(?:\d|\\frac|\\sqrt)))?"
)
_LEXICON = re.compile(
    r"""
      (?P<delim>\\[()\[\]]|\$\$)
    | (?P<skip>(?<=[Ss]tep\ )\(?\d{1,2}\)(?=\s)
        |<<[^<>\n]{0,200}>>|\\?\$|[€£¥]|(?<!\\)&|\\[,;:! ]|\\left(?![a-z|])|\\right(?![a-z|])
        |\\boxed(?=\s*\{)|\\(?:text(?:bf|it)?|math(?:bf|it|rm)|boldsymbol)(?=\s*\{\s*\\?\$?\d[\d.,]*\s*\})
        |\\(?:text(?:bf|it)?|mathrm|mbox)(?=\s*\{[^{}=]{0,200}\d\s*=\s*\$?\d[^{}]*\})
        |\*\*(?=\s*[^\s\d(])|[ \t]+
        |(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-z]))|°|\\degree(?![a-z]))(?:[CF](?![A-Za-z]))?)
    | (?P<number>(?:\d+\ ?)?[½⅓⅔¼¾]|\d(?:[eE]|\.\d+[eE][+-]?)\d{1,2}(?!\w)
        |(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?!\d)|\d{1,3}(?:\ 000)+(?!\d)
        |(?<=\$)\d{1,3}(?:\ \d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    | (?P<equals>==?|\bequals\b|\bis\ equal\ to\b)
    | (?P<approx>≈|≃|\\approx(?![a-z]))
    | (?P<equiv>≡|\\equiv(?![a-z]))
    | (?P<times>\*\*|\*|×|·|⋅|∙|\\times(?![a-z])|\\cdot(?![a-z])|\btimes\b|\bmultiplied\ by\b)
    | (?P<over>/|÷|\\div(?![a-z])|\bdivided\ by\b)
    | (?P<plus>\+|\bplus\b)
    | (?P<minus>[-−–]|\bminus\b)
    | (?P<power>\^|[²³])
    | (?P<mod>\\[bp]?mod(?![a-z])|\bmod(?:ulo)?\b)
    | (?P<frac>\\[dtc]?frac(?![a-z]))
    | (?P<binom>\\[dt]?binom(?![a-z]))
    | (?P<call>\\?\b(?:gcd|lcm|C|GCD|LCM)(?=\s*\())
    | (?P<root>\\sqrt(?![a-z])|\bsqrt(?=\s*\()|√)
    | (?P<percent>\\?%|\bpercent\b)
    | (?P<bang>!)
    | (?P<choose>\\choose(?![a-z]))
    | (?P<word>\\(?:text|mathrm|mbox)\s*\{[^{}]*\}
        |(?<![\w)}!])\((?=[A-Za-z ]{0,60}[a-z])[A-Za-z][A-Za-z ]*[A-Za-z]\)
        |(?!\\(?:left\||right\||[lr]vert))\\?[A-Za-z¢][\w'’]*)
    | (?P<open>[({\[]|\\left\||\\lvert(?![a-z]))
    | (?P<close>[)}\]]|\\right\||\\rvert(?![a-z]))
    | (?P<comma>,)
    | (?P<newline>\\\\|\n[ \t]*(?:[-*•+](?=\s)[ \t]*)?"""
    + _NUMBERING
    + r""")
    | (?P<other>.)
    """,
    re.VERBOSE,
)
# Blanks, then a word that the lexicon could call nothing else: most of a text, at a fraction of the cost.
_PLAIN = re.compile(
    r"[ \t]*(?:"
    r"(?!(?:equals|is|times|multiplied|divided|plus|minus|mod|modulo|gcd|lcm|C|GCD|LCM|sqrt|percent)(?!\w))"
    r"([A-Za-z][\w'’]*))?"
)
# A dollar that closes a formula, as no currency sign does: `$x = 5$,`.
_CLOSING_DOLLAR = re.compile(r"[^\s$\\]\$(?=[\s.,;:)?!-]|$)")
_MARKS = re.compile(r"\n|`+|\*{1,3}|(?<![\w\\])_{1,3}(?![\s_])|(?<![\s_])_{1,3}(?!\w)")
# `|3-5|`: bars that touch the arithmetic between them, unlike those of `3|12`, `P(A|B)` and most tables.
_ABSOLUTE = re.compile(
    r"(?<![A-Za-z_|])\|(?=[-−–\d(.\\])"
    r"(?:[-−–\d \t.,+*/×·÷^(){}]|\\(?:[dt]?frac|sqrt|cdot|times|div)(?![a-z])){1,80}"
    r"(?<=[\d)}])\|(?![\w|])"
)
_FIRST_BULLET = re.compile(r"\s*(?:[-*•+](?=\s)[ \t]*)?" + _NUMBERING)


def tokenize(text: str) -> list[Token]:
    """Tokens without blanks, currency and degree signs, `<<...>>` annotations, list bullets and emphasis.

    `$` delimits formulas (kind "delim", as `\\(` does) in a text where one closes, else it is currency.
    """
    merged = _merge_adjectives(_joined_formulas(_scan(text)))
    return [_as_word(token, following) for token, following in zip_longest(merged, merged[1:])]


def _scan(text: str) -> list[Token]:
    formulas = _CLOSING_DOLLAR.search(text) is not None
    emphasis = _emphasis(text)
    bars = _bars(text)
    tokens: list[Token] = []
    bullet = _FIRST_BULLET.match(text)
    position, last_end = (bullet.end() if bullet else 0), -1
    while position < len(text):
        if position in emphasis:
            position = emphasis[position]
            continue
        if (plain := _PLAIN.match(text, position)) and (end := plain.end()) > position:
            if (word := plain[1]) is not None:
                start = end - len(word)
                tokens.append(Token("word", word, start, end, start == last_end))
                last_end = end
            position = end
            continue
        match = _LEXICON.match(text, position)
        if match is None:  # a vertical tab or the like
            position += 1
            continue
        kind = bars.get(position) or _kind(match, formulas)
        start, position = match.span()
        if kind != "skip":
            tokens.append(Token(kind, match[0], start, position, start == last_end))
            last_end = position
        elif start == last_end and not match[0].isspace():
            last_end = position  # `$5` is glued to what stands before the sign
    return tokens


def _bars(text: str) -> dict[int, str]:
    """The kinds, "open" and "close", of the bars around absolute values, by where they stand."""
    spans = [match.span() for match in _ABSOLUTE.finditer(text)]
    return {start: "open" for start, _ in spans} | {end - 1: "close" for _, end in spans}


def _kind(match: re.Match[str], formulas: bool) -> str:
    """The kind of a match of the lexicon; `**` is a power, and a dollar may delimit a formula."""
    kind = match.lastgroup or "other"
    if kind == "skip" and match[0] == "$" and formulas:
        return "delim"
    return "power" if kind == "times" and match[0] == "**" else kind


def _emphasis(text: str) -> dict[int, int]:
    """Start and end of Markdown's marks: backticks, and stars or underscores that open and close on one line.

    `2**3` and `2 ** 3` are powers, `2 * 3`, `2 *3` and `2* 3` products: stars that mark touch only what they
    surround, and a single one has no operand on its other side.
    """
    found: dict[int, int] = {}
    opened: dict[str, int] = {}  # a run of stars or underscores -> where it opened
    for match in _MARKS.finditer(text):
        start, end = match.span()
        size = end - start
        if match[0] == "\n":
            opened.clear()
        elif match[0][0] == "`":
            found[start] = end
        elif match[0] in opened and _may_close(text, start, end):
            opening = opened.pop(match[0])
            found |= {opening: opening + size, start: end}
        elif _may_open(text, start, end):
            opened[match[0]] = start
    return found


def _may_open(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - MAX_DIGITS) : start], text[end : end + 1]
    if not after or after.isspace() or (before and (before[-1].isalnum() or before[-1] in "*)]}!%")):
        return False
    operand = before.rpartition("\n")[2].rstrip()[-1:]
    return end - start > 1 or not (operand.isdigit() or (operand and operand in ")]}!%"))


def _may_close(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1], text[end : end + MAX_DIGITS]
    if before.isspace() or (after and (after[0].isalnum() or after[0] in "*(")):
        return False
    operand = after.partition("\n")[0].lstrip()[:1]
    return end - start > 1 or not (operand.isdigit() or (operand and operand in "($\\"))


_JOINING = ("plus", "minus", "times", "over", "equals", "approx")


def _joined_formulas(tokens: list[Token]) -> list[Token]:
    """Without the dollars inside a statement that is split over formulas: `$5$ + $6$ = $11$`."""
    if sum(token.kind == "delim" for token in tokens) < 2:
        return tokens
    out: list[Token] = []
    for i, token in enumerate(tokens):
        if token.kind != "delim" or not out or not _joins(out[-1].kind, tokens[i + 1 : i + 4]):
            out.append(token)
    return out


def _joins(before: str, following: list[Token]) -> bool:
    """Whether a dollar between a token of kind `before` and these stands inside a statement."""
    first, second, third = (*(token.kind for token in following), *("end",) * 3)[:3]
    if before in _JOINING:
        return first in OPERAND_STARTS
    closes = before in ("number", "close", "percent") and first in _JOINING
    return closes and (third if second == "delim" else second) in OPERAND_STARTS


def _merge_adjectives(tokens: list[Token]) -> list[Token]:
    """`10 2-legged animals`: a number in an adjective after another number is a word."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        if (
            tokens[i].kind == "number"
            and out
            and out[-1].kind == "number"
            and [token.kind for token in tokens[i + 1 : i + 3]] == ["minus", "word"]
            and not tokens[i].glued
            and tokens[i + 1].glued
            and tokens[i + 2].glued
        ):
            out.append(tokens[i]._replace(kind="word", text=tokens[i + 2].text, end=tokens[i + 2].end))
            i += 3
        else:
            out.append(tokens[i])
            i += 1
    return out


def _as_word(token: Token, following: Token | None) -> Token:
    """`4 times * 20` counts occasions: `times` multiplies only where an operand follows."""
    if token.text == "times" and (following is None or following.kind not in OPERAND_STARTS):
        return token._replace(kind="word")
    return token


_SIGNS = ("plus", "minus", "times", "equals", "power")


def variables(tokens: list[Token]) -> set[str]:
    """Letters that stand for a number somewhere in the text: `L + 8`, `20 - g`; never the article a."""
    found = set()
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.kind == "word" and len(token.text) == 1 and token.text not in "aA":
            led = before is not None and before.kind in (*_SIGNS, "open")
            counted = before is not None and before.kind in ("number", "close")
            if led or (after is not None and after.kind in _SIGNS and not counted):
                found.add(token.text)
    return found


def closed_groups(tokens: list[Token]) -> set[int]:
    """Brackets that are closed and hold at most MAX_DEPTH levels: no time is spent on hostile nesting."""
    closed = set()
    pending: list[int] = []
    heights = [0]  # of what each pending bracket holds so far
    for i, token in enumerate(tokens):
        if token.kind == "open":
            pending.append(i)
            heights.append(0)
        elif token.kind == "close" and pending:
            opened, height = pending.pop(), heights.pop()
            heights[-1] = max(heights[-1], height + 1)
            if height < MAX_DEPTH:
                closed.add(opened)
    return closed
