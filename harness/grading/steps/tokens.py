"""Running text as tokens of arithmetic."""

from __future__ import annotations

import re
from typing import NamedTuple
from unicodedata import normalize


class Token(NamedTuple):
    """A piece of `text[start:end]`; `glued` says that no blank stands before it."""

    kind: str
    text: str
    start: int
    end: int
    glued: bool

    @property
    def foreign(self) -> bool:
        """Whether it is a word in a script that names no variables: `元`, `яблок`."""
        return self.kind == "word" and self.text[0] > "\u03ff"


# Full-width signs that arithmetic uses; the other ones, as `，`, end a clause and part no digits.
_WIDE = {
    code: normalize("NFKC", chr(code))
    for code in (0x3000, *range(0xFF01, 0xFF5F))
    if chr(code) not in "！，：；？"
}
# Thousands parted by blanks, and a line that shows it by a sign before them or a group that begins with 0.
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:\ \d{3})+(?![\d%]|-[A-Za-z])")
_GROUPED_LINE = re.compile(r".*(?:[-−+*/=×÷·≈$]\ ?\d{1,3}(?:\ \d{3})+(?!\d)|\d\ 0\d\d(?!\d)).*")
# Markdown's emphasis: marks touch what they surround, and a single one has no operand on its other side.
_BEFORE, _INSIDE, _AFTER = r"(?<![\w*)\]}!%\\])", r"(?![\s*_])(.{0,1000}?", r")\1(?![\w*(])"
_EMPHASIS = (
    re.compile(_BEFORE + r"(\*{2,3}|_{2,3})" + _INSIDE + r"\S" + _AFTER),
    re.compile(_BEFORE + r"(?<![\d)\]}!%]\ )([*_])" + _INSIDE + r"[^\s*]" + _AFTER + r"(?!\ [\d($\\])"),
)
# `|3-5|`: bars that touch the arithmetic between them, unlike those of `3|12`, `P(A|B)` and most tables.
_ABSOLUTE = re.compile(
    r"(?<![A-Za-z_|])\|(?=[-−–\d(.\\])"
    r"((?:[-−–\d \t.,+*/×·÷^(){}]|\\(?:[dt]?frac|sqrt|cdot|times|div)(?![a-z])){1,80})"
    r"(?<=[\d)}])\|(?![\w|])"
)
# `1)` and `(1)` before the first operand of a line; not `(5) + 3` or `(5)(3)`, nor the end of a bracket.
_NUMBERING = (
    r"(?:\d{1,2}\.?\)[ \t]*(?=-?\$?(?:\d|\(|\\frac|\\sqrt))|\(\d{1,2}\)[ \t]+(?=-?\$?(?:\d|\\frac|\\sqrt)))?"
)
# `gcd(540,270)` has two arguments, of which neither is 540,270; in `gcd(1,540, 270)` blanks tell them apart.
_ARGUMENTS = re.compile(r"(?:gcd|lcm|GCD|LCM) ?\((?![^()]*, )[^()]{1,200}\)|\bC ?\(\d+,\d+\)")
_LATIN_WORD = r"[A-Za-z¢][0-9A-Za-z_'’ª²³µ¹ºÀ-ÖØ-öø-Ͽ]*"
_LEXICON = re.compile(
    r"""
      (?P<delim>\\[()\[\]]|\$\$)
    | (?P<skip>(?<=[Ss]tep\ )\(?\d{1,2}\)(?=\s)
        |<<[^<>\n]{0,200}>>|\\?\$|[€£¥]|(?<!\\)&|\\[,;:! ]|\\left(?![a-z|])|\\right(?![a-z|])
        |\\boxed(?=\s*\{)|\\(?:text(?:bf|it)?|math(?:bf|it|rm)|boldsymbol)(?=\s*\{\s*\\?\$?\d[\d.,]*\s*\})
        |\\(?:text(?:bf|it)?|mathrm|mbox)(?=\s*\{[^{}=]{0,200}\d\s*=\s*\$?\d[^{}]*\})
        |[ \t\u00a0\u2009\u202f]+
        |(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-z]))|°|\\degree(?![a-z]))(?:[CF](?![A-Za-z]))?
        |(?<=\d\ )\d+-[A-Za-z]\w*)  # 10 2-legged animals
    | (?P<number>(?:\d+\ ?)?[½⅓⅔¼¾]|\d(?:[eE]|\.\d+[eE][+-]?)\d{1,2}(?![0-9A-Za-z_])
        |(?:\d{1,3}(?:(?:,|\{,\}|,\\!|\\,|[\u00a0\u2009\u202f])\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    | (?P<equals>==?|\bequals\b|\bis\ equal\ to\b)
    | (?P<approx>≈|≃|\\approx(?![a-z]))
    | (?P<equiv>≡|\\equiv(?![a-z]))
    | (?P<power>\*\*|\^|[²³])
    | (?P<times>\*|×|·|⋅|∙|\\times(?![a-z])|\\cdot(?![a-z])
        |\btimes\b(?=[ \t$]*(?:\.?\d|[({\[½⅓⅔¼¾√⟦]|\\[dtc]?frac|\\[dt]?binom|\\sqrt))|\bmultiplied\ by\b)
    | (?P<over>/|÷|\\div(?![a-z])|\bdivided\ by\b)
    | (?P<plus>\+|\bplus\b)
    | (?P<minus>[-−–]|\bminus\b)
    | (?P<mod>\\[bp]?mod(?![a-z])|\bmod(?:ulo)?\b)
    | (?P<frac>\\[dtc]?frac(?![a-z]))
    | (?P<binom>\\[dt]?binom(?![a-z]))
    | (?P<call>(?:\\|(?<![0-9A-Za-z_]))(?:gcd|lcm|C|GCD|LCM)(?=\s*\())
    | (?P<root>\\sqrt(?![a-z])|(?<![0-9A-Za-z_])sqrt(?=\s*\()|√)
    | (?P<percent>\\?%|\bpercent\b)
    | (?P<bang>!)
    | (?P<choose>\\choose(?![a-z]))
    | (?P<word>\\(?:text|mathrm|mbox)\s*\{[^{}]*\}
        |(?<![\w)}!])\((?=[A-Za-z ]{0,60}[a-z])[A-Za-z][A-Za-z ]*[A-Za-z]\)
        |(?!\\(?:left\||right\||[lr]vert))\\?LATIN_WORD
        |[\u0400-\u052f]{2,}  # one Cyrillic letter may be a variable
        |(?:(?!\d)[\u0590-\u1aff\u3005-\u3007\u3040-\u312f\u3400-\u9fff\uac00-\ud7ff\uf900-\ufefe])+)
    | (?P<open>[({\[⟦]|\\left\||\\lvert(?![a-z]))
    | (?P<close>[)}\]⟧]|\\right\||\\rvert(?![a-z]))
    | (?P<comma>[,，、])
    | (?P<newline>\\\\|\n[ \t]*(?:[-*•+](?=\s)[ \t]*)?NUMBERING)
    | (?P<other>.)
    """.replace("LATIN_WORD", _LATIN_WORD).replace("NUMBERING", _NUMBERING),
    re.VERBOSE,
)
# Blanks, then a word that the lexicon could call nothing else: most of a text, at a fraction of the cost.
_PLAIN = re.compile(
    r"[ \t]*(?!(?:equals|is|times|multiplied|divided|plus|minus|mod|modulo|gcd|lcm|C|GCD|LCM"
    r"|sqrt|percent)(?!\w))"
    rf"(?P<word>{_LATIN_WORD})|(?P<skip>[ \t]+)"
)
# A dollar that closes a formula, as no currency sign does: `$x = 5$,`.
_CLOSING_DOLLAR = re.compile(r"[^\s$\\]\$(?=[\s.,;:)?!-]|$)")
_FIRST_BULLET = re.compile(r"\s*(?:[-*•+](?=\s)[ \t]*)?" + _NUMBERING)


def tokenize(text: str) -> list[Token]:
    """Tokens without blanks, currency and degree signs, `<<...>>` annotations, list bullets and emphasis.

    `$` delimits formulas (kind "delim", as `\\(` does) in a text where one closes, else it is currency.
    """
    return _scan(_without_layout(text))


def _without_layout(text: str) -> str:
    """The text, as long as before: ASCII signs, no marks of emphasis, one sign for blanks in thousands."""
    if not text.isascii():
        text = text.translate(_WIDE)
    if "," in text:
        text = _ARGUMENTS.sub(lambda found: found[0].replace(",", "，"), text)
    if _GROUPED.search(text):
        text = _GROUPED_LINE.sub(
            lambda line: _GROUPED.sub(lambda found: found[0].replace(" ", "\u00a0"), line[0]), text
        )
    if "*" in text or "_" in text:
        for pattern in _EMPHASIS:
            text = pattern.sub(lambda found: found[2].center(len(found[0])), text)
    return _ABSOLUTE.sub(r"⟦\1⟧", text.replace("`", " "))


def _scan(text: str) -> list[Token]:
    formulas = _CLOSING_DOLLAR.search(text) is not None
    tokens: list[Token] = []
    bullet = _FIRST_BULLET.match(text)
    position, last_end = (bullet.end() if bullet else 0), -1
    while position < len(text):
        match = _PLAIN.match(text, position) or _LEXICON.match(text, position)
        assert match is not None and match.lastgroup is not None  # the last form is any character
        kind = "delim" if match[0] == "$" and formulas else match.lastgroup
        start, position = match.span(match.lastgroup)
        if kind != "skip":
            tokens.append(Token(kind, text[start:position], start, position, start == last_end))
        # `$5` is glued to what stands before the sign
        if kind != "skip" or (start == last_end and not match[0].isspace()):
            last_end = position
    return tokens
