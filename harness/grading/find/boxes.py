r"""The boxes of a completion: where they stand, which of them form a list, which the text takes back."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A backslash may be lost (JSON reads `\b`), and `\boxed 5` takes one token.
BOX_NAME = r"(?:\\(?:boxed|fbox|framebox)|(?<![A-Za-z\\])(?:boxed|\x08?oxed)(?=\s*\{))"
_TOKEN = re.compile(
    rf"({BOX_NAME}\s*\{{)|{BOX_NAME}(?:\s*(-?\d[\d.,/]*)|\s+([A-Za-z])\b)|\\.|([{{}}])", re.DOTALL
)
_GAP = r"(?:[\s$*]|\\[()\[\],;! ]|\\q?quad|\\text\{\s*\}){0,12}"
_JOIN = re.compile(
    rf"{_GAP}(?:(?P<alternative>,?\s*(?:or|\\text\{{\s*,?\s*or\s*\}}))"
    rf"|(?:,{_GAP})?(?:and|&|as well as|\\text\{{\s*,?\s*and\s*\}})|[,;])"
    rf"{_GAP}(?:[A-Za-z](?:_\{{?\w\}}?)?\s*=)?{_GAP}"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s|\n")
_ASIDE_BEFORE = re.compile(
    r"(?:\b(?:instead of|rather than|unlike|not|nor|mistake|error|trap|misread\w*|wrong(?:ly)?"
    r"|incorrect(?:ly)?|forget\w*|earlier|previous(?:ly)?|initial(?:ly)?"
    r"|at first|someone|would|might|tempt\w*)\b)[^.!?\n]*\Z",
    re.IGNORECASE,
)
_ASIDE_AFTER = re.compile(
    r"[\s$*)\]\\]{0,6}(?:(?:would|could|might)\b|(?:is|was|were)\s+(?:(?:wrong|incorrect|false|not)\b"
    r"|(?:my|an?|the)\s+(?:first|earlier|initial|previous|wrong|incorrect|common|tempting|trap)))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Box:
    """`content` of the boxes from `start` to `end`; of a list it is `1, 2` or `1 or 2`."""

    start: int
    end: int
    content: str


def boxes(text: str) -> tuple[list[Box], int | None]:
    """The complete outer boxes with a content, each by itself, and where the first unfinished box starts."""
    found: list[Box] = []
    stack: list[tuple[int, int] | None] = []  # (start of the marker, start of the content); None for a bare {
    for match in _TOKEN.finditer(text):
        if match[1]:
            stack.append((match.start(), match.end()))
        elif bare := match[2] or match[3]:
            found.append(Box(match.start(), match.end(), bare.rstrip(".,/")))
        elif match[4] == "{":
            if stack:
                stack.append(None)
        elif match[4] == "}" and stack:
            opened = stack.pop()
            if opened is not None and (content := text[opened[1] : match.start()].strip()):
                while found and found[-1].start > opened[0]:
                    found.pop()  # a box within this one
                found.append(Box(opened[0], match.end(), content))
    unfinished = next((opened[0] for opened in stack if opened is not None), None)
    return found, unfinished


def _joined(text: str, found: list[Box]) -> list[Box]:
    """Boxes parted by a comma, `and` or `or` are one list; the same thing twice is that thing."""
    out: list[Box] = []
    for box in found:
        last = out[-1] if out else None
        join = _JOIN.fullmatch(text, last.end, box.start) if last else None
        if last is None or join is None:
            out.append(box)
        else:
            sign = " or " if join["alternative"] else ", "
            content = last.content if box.content == last.content else last.content + sign + box.content
            out[-1] = Box(last.start, box.end, content)
    return out


def last_box(text: str) -> tuple[Box | None, int | None]:
    """The last box that is no aside (`instead of`), else the last; and where an unfinished one starts."""
    found, unfinished = boxes(text)
    found = _joined(text, found)
    plain = [box for box in found[-20:] if not _is_aside(text, box)]
    return (plain or found)[-1] if found else None, unfinished


def _is_aside(text: str, box: Box) -> bool:
    before = _SENTENCE.split(text[max(0, box.start - 120) : box.start])[-1]
    return bool(_ASIDE_BEFORE.search(before) or _ASIDE_AFTER.match(text, box.end))
