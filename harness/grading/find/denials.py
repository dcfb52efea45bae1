"""Numbers and boxes that a text takes back: `is not 24`, `24 is wrong`."""

from __future__ import annotations

import re

from harness.grading.find.boxes import BOX_NAME
from harness.grading.find.statements import NUMBER

MAX_DENIALS = 200
_WHOLE = rf"(?<![\d.,]){NUMBER}"  # tried once a number: no quadratic time on a run of digits
# What takes a number back: `is not 24`, `isn't \boxed{24}`, `24 is wrong`, `24 is not the answer`.
_DENIALS = ("not", "n't", "n’t", "never", "wrong", "incorrect", "mistake", "doubt", "? no", "? wrong")
_SHOWN = rf"[$*\\(\[]{{0,4}}(?:{BOX_NAME}\s*\{{[^{{}}\n]{{0,60}}\}}|{_WHOLE})[$*\\)\]]{{0,4}}"
# `is not 24`, `I don't think the answer is 25`, `a mistake to say the answer is 25`
_DENIED_NEXT = re.compile(
    r"(?:(?:(?<![A-Za-z])not|(?<=\bcan)not|n['’]t|never)\s+(?:(?:be|equals?|to|actually|simply|just|really|the)\s+){0,3}"
    r"|(?:not|n['’]t|never|mistake|wrong|incorrect|doubt)\s+(?:(?!so|and|but|thus|hence|then|therefore)\w+\s+){0,5}"
    rf"answer\s+(?:is|was|equals)\s+){_SHOWN}(?![\w.,]*\d)",
    re.IGNORECASE,
)
_SECOND_THOUGHT = r"(?:(?:hmm|no|wait|but|oh|actually|hold on|sorry)\b[\s,.!]*){0,4}"
_DENIED_BEFORE = re.compile(
    rf"{_SHOWN}(?:\s+(?:is|was)|[.!,;]?\s*{_SECOND_THOUGHT}(?:that|this|which|it)(?:['’]s|\s+(?:is|was))"
    r"|\s*\()?\s*$",
    re.IGNORECASE,
)
_NOT_RIGHT = re.compile(
    r"wrong\b|incorrect\b|\? (?:no|wrong)\b,?"
    r"|(?:not|never|n['’]t)\s+(?:right|correct|(?:the|our|my|an?)\s+(?:right |correct |final )?answer)\b",
    re.IGNORECASE,
)


def places(text: str, literals: tuple[str, ...]) -> list[int]:
    """Every place where one of the lower-case literals starts, in order, in capitals or not."""
    lower = text.lower()
    lower = lower if len(lower) == len(text) else text
    found = []
    for literal in literals:
        at = lower.find(literal)
        while at >= 0:
            found.append(at)
            at = lower.find(literal, at + len(literal))
    return sorted(found)


def without_denied(text: str) -> str:
    """`text` without the numbers and boxes that it takes back."""
    spans = []
    for place in places(text, _DENIALS)[-MAX_DENIALS:]:
        if after := _DENIED_NEXT.match(text, place):
            spans.append(after.span())
        elif said := _NOT_RIGHT.match(text, place):
            start = max(0, place - 120)
            if before := _DENIED_BEFORE.search(text[start:place]):
                spans.append((start + before.start(), said.end()))
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]} {text[end:]}"
    return text
