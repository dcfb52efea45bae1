"""A problem's text brought to the form in which copies are equal."""

from __future__ import annotations

import re
import unicodedata

# Spacing and fonts say nothing about the problem; \! and its kin stand between a backslash and no letter.
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|limits|quad|qquad|text|textbf|textit|textrm|textsc|mathrm|mathbf"
    r"|mathit|mathsf|mbox|rm|bf|it|em|emph|operatorname|bigl?|bigr?|Bigl?|Bigr?)(?![A-Za-z])|\\[!,;: ]|[$~]"
)
# Scripts that part no words by blanks: each of their characters is a word.
_UNSPACED = (
    "\u0e01-\u0eff\u0f00-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Accents and vowel signs, which Python's \\w leaves out; they tell words apart.
_MARKS = "".join(
    chr(code)
    for code in (*range(0x300, 0x3100), *range(0xA600, 0xAC00))
    if unicodedata.category(chr(code))[0] == "M"
)
_WORD = rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_]|[{_MARKS}])+"
_SIGN = "[-+*/=<>^_!|]"
_TOKENS = {False: re.compile(_WORD), True: re.compile(f"{_WORD}|{_SIGN}")}
_ASCII_TOKENS = {False: re.compile("[a-z0-9]+"), True: re.compile(f"[a-z0-9]+|{_SIGN}")}  # alike, and quicker


def words(text: str) -> list[str]:
    """Words and numbers alone, in any script and without case, in order: what n-grams are made of.

    Each character is a word in a script without blanks (Han, Kana, Thai).
    """
    return _tokens(text, signs=False)


def exact_key(text: str) -> str:
    """Equal for texts with the same words, numbers and signs; layout and punctuation do not count."""
    return " ".join(_tokens(text, signs=True))


def _tokens(text: str, *, signs: bool) -> list[str]:
    out = unicodedata.normalize("NFKC", text)
    out = out.replace("−", "-").replace("–", "-").replace("dfrac", "frac").replace("tfrac", "frac")
    out = _LAYOUT.sub(" ", out).casefold()
    return (_ASCII_TOKENS if out.isascii() else _TOKENS)[signs].findall(out)
