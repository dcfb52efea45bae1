"""Numbers and boxes that a text takes back: `is not 24`, `24 is wrong`, `25? No, 24`."""

from __future__ import annotations

import re

from harness.grading.find.boxes import BOX_NAME
from harness.grading.find.statements import NUMBER

MAX_DENIALS = 200
_WHOLE = rf"(?<![\d.,]){NUMBER}"  # tried once a number: no quadratic time on a run of digits
# What takes a number back: `is not 24`, `isn't \boxed{24}`, `24 is wrong`, `24 is not the answer`.
_DENIALS = ("not", "n't", "n’t", "never", "wrong", "incorrect", "mistake", "doubt", "fails")
_SHOWN = rf"[$*\\(\[]{{0,4}}(?:{BOX_NAME}\s*\{{[^{{}}\n]{{0,60}}\}}|{_WHOLE})[$*\\)\]]{{0,4}}"
_DENIED_NEXT = re.compile(
    rf"(?:(?<![A-Za-z])not|(?<=\bcan)not|n['’]t|never)\s+(?:(?:be|equal|equals|to|actually|simply|just|really|the)\s+){{0,3}}"
    rf"{_SHOWN}(?![\w.,]*\d)",
    re.IGNORECASE,
)
_SECOND_THOUGHT = r"(?:(?:hmm|no|wait|but|oh|actually|hold on|sorry)\b[\s,.!]*){0,4}"
_DENIED_BEFORE = re.compile(
    rf"{_SHOWN}(?:\s+(?:is|was)|[.!,;]?\s*{_SECOND_THOUGHT}(?:that|this|which|it)(?:['’]s|\s+(?:is|was))"
    r"|\s*\()\s*$",
    re.IGNORECASE,
)
# `I don't think the answer is 25`, `a mistake to say the answer is 25`
_DENIED_STATEMENT = re.compile(
    r"(?:n['’]t|not|never|mistake|wrong|incorrect|doubt)\s+(?:that\s+)?"
    r"(?:(?:to\s+)?(?:think|believe|say|claim|conclude|mean|true|sure|certain|right|correct)\s+)?(?:that\s+)?"
    rf"(?:the|our|my)\s+(?:\w+\s+)?answer\s+(?:is|was|equals)\s+{_SHOWN}"
)
_ASKED = re.compile(rf"{_SHOWN}\s*\?\s*(?:No|Nope|Wrong)\b[,.!]?")
_NOT_RIGHT = re.compile(
    r"wrong\b|incorrect\b"
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
        if after := _DENIED_NEXT.match(text, place) or _DENIED_STATEMENT.match(text, place):
            spans.append(after.span())
        elif _NOT_RIGHT.match(text, place):
            start = max(0, place - 120)
            if before := _DENIED_BEFORE.search(text[start:place]):
                spans.append((start + before.start(), place))
    if "?" in text:
        for place in places(text, ("? no", "?\nno", "? wrong"))[-MAX_DENIALS:]:
            spans.extend(match.span() for match in _ASKED.finditer(text, max(0, place - 80), place + 10))
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]} {text[end:]}"
    return text
