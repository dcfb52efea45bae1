"""The last complete box of a completion."""

from __future__ import annotations

import re

BOX_NAME = r"\\(?:boxed|fbox|framebox)"
_BOX = re.compile(rf"{BOX_NAME}\s*(?:\{{|-?\d|[A-Za-z]\b)")
_BOX_TOKEN = re.compile(
    rf"({BOX_NAME}\s*\{{)|{BOX_NAME}(?:\s*(-?\d[\d.,/]*)|\s+([A-Za-z])\b)|\\.|([{{}}])", re.DOTALL
)
# What stands between boxes of which one may be it: `$\boxed{1}$ or $\boxed{2}$`.
_MATH = r"(?:\s|\$|\\[()\[\]]){0,8}"
_OR = re.compile(rf"{_MATH}(?:,\s*)?(?:or\b|\\text\{{\s*,?\s*or\s*\}}){_MATH}")


def last_box(text: str) -> tuple[str | None, int | None]:
    """The content of the complete box that ends last, and where the first unfinished box starts.

    `\\boxed{1} or \\boxed{2}` has the content `1 or 2`.
    """
    first = _BOX.search(text)
    if first is None:
        return None, None
    answer, end = None, 0
    stack: list[tuple[int, int] | None] = []  # (start of the marker, start of the content); None for a bare {
    for match in _BOX_TOKEN.finditer(text, first.start()):
        if match[1]:
            stack.append((match.start(), match.end()))
        elif bare := match[2] or match[3]:
            answer = _either(text, answer, end, match.start()) + bare.rstrip(".,/")
            end = match.end()
        elif match[4] == "{":
            stack.append(None)
        elif match[4] == "}" and stack:
            opened = stack.pop()
            if opened is not None and (content := text[opened[1] : match.start()].strip()):
                answer = _either(text, answer, end, opened[0]) + content
                end = match.end()
    unfinished = next((opened[0] for opened in stack if opened is not None), None)
    return answer, unfinished


def _either(text: str, answer: str | None, end: int, start: int) -> str:
    """`1 or ` where the box that starts follows one with `1` and an `or`; else nothing."""
    return f"{answer} or " if answer is not None and _OR.fullmatch(text, end, start) else ""
