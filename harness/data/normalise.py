"""A problem's text brought to the form in which copies are equal."""

from __future__ import annotations

import re
import unicodedata

# Spacing and fonts say nothing about the problem; \! and its kin stand between a backslash and no letter.
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|limits|quad|qquad|text|textbf|textit|textrm|textsc|mathrm|mathbf"
    r"|mathit|mathsf|mbox|rm|bf|it|em|emph|operatorname|bigl?|bigr?|Bigl?|Bigr?)(?![A-Za-z])|\\[!,;: ]|[$~]"
)
_TOKEN = re.compile(r"[a-z0-9]+")
_SIGNED = re.compile(r"[a-z0-9]+|[-+*/=<>^_!|]")


def words(text: str) -> list[str]:
    """Lower-case words and numbers alone, in order: what n-grams are made of."""
    return _TOKEN.findall(_plain(text))


def exact_key(text: str) -> str:
    """Equal for texts with the same words, numbers and signs; layout and punctuation do not count."""
    return " ".join(_SIGNED.findall(_plain(text)))


def _plain(text: str) -> str:
    out = unicodedata.normalize("NFKC", text)
    out = out.replace("−", "-").replace("–", "-").replace("dfrac", "frac").replace("tfrac", "frac")
    return _LAYOUT.sub(" ", out).lower()
