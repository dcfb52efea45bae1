"""Finding the answer in a completion by explicit rules. Plain string work, linear in the text; no eval."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.grading.compare.answers import MAX_ANSWER_CHARS
from harness.grading.compare.measures import UNIT_AFTER
from harness.grading.find.boxes import BOX_NAME, last_box
from harness.grading.find.claims import is_false, is_place
from harness.grading.find.statements import FINAL_NUMBER, NUMBER, trim_statement
from harness.grading.lexicon import LARGE_SCALE

Rule = Literal["boxed", "answer_tag", "answer_is", "answer_colon", "a_colon", "hashes", "final_number"]
UnfinishedBox = Literal["reject", "ignore"]

DEFAULT_RULES: tuple[Rule, ...] = (
    "boxed",
    "answer_tag",
    "answer_is",
    "answer_colon",
    "a_colon",
    "hashes",
    "final_number",
)
MAX_COMPLETION_CHARS = 131_072  # only the end of a longer completion is read: about 32k tokens
MAX_ANCHORS = 20  # so many of the last "answer is" are looked at
MAX_DENIALS = 200


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found: the raw answer and the rule that found it, or None and why.

    `unit` is what stands after a last number, which is an answer without it: ` kg`, `%`.
    """

    answer: str | None
    rule: Rule | None
    reason: str
    unit: str = ""


# Each rule's anchor, and literal (lower case) text without which it cannot match: looking for that is faster.
_ANCHORS: dict[Rule, tuple[tuple[str, ...], re.Pattern[str]]] = {
    "answer_is": (
        ("answer", "option", "choice"),
        re.compile(
            r"\b(?:answers?|(?:(?<=correct )|(?<=right )|(?<=best ))(?:option|choice))\b"
            r"(?:(?!\b(?:because|since|it|which|that)\b)[^.\n:]){0,60}?\b(?:is|are|was|be|equals)\b\s*:?",
            re.IGNORECASE,
        ),
    ),
    "answer_colon": (("ans",), re.compile(r"\bans(?:wer)?\**\s*[:=]", re.IGNORECASE)),
    "a_colon": (("a:", "a*", "a :"), re.compile(r"(?m:^)[ \t*]*A\**[ \t]*:")),
    "hashes": (("####",), re.compile(r"####")),
}
_WHOLE = rf"(?<![\d.,]){NUMBER}"  # tried once a number: no quadratic time on a run of digits
# `25 is the` before "answer".
_REVERSED = re.compile(
    rf"({_WHOLE})[^\w\n]{{0,4}}\s(?:is|was) (?:then |thus |therefore |indeed )?(?:the|our|my|your)"
    r" (?:final |correct |right )*$"
)
# What takes a number back: `is not 24`, `isn't \boxed{24}`, `24 is wrong`, `24 is not the answer`.
_DENIALS = ("not", "n't", "n’t", "never", "wrong", "incorrect", "mistake", "doubt")
_SHOWN = rf"[$*\\(\[]{{0,4}}(?:{BOX_NAME}\s*\{{[^{{}}\n]{{0,60}}\}}|{_WHOLE})[$*\\)\]]{{0,4}}"
_DENIED_NEXT = re.compile(
    rf"(?:(?<![A-Za-z])not|(?<=\bcan)not|n['’]t|never)\s+(?:(?:be|equal|equals|to|actually|simply|just|really|the)\s+){{0,3}}"
    rf"{_SHOWN}(?![\w.,]*\d)"
)
_SECOND_THOUGHT = r"(?:(?:hmm|no|wait|but|oh|actually|hold on|sorry)\b[\s,.!]*){0,4}"
_DENIED_BEFORE = re.compile(
    rf"{_SHOWN}(?:\s+(?:is|was)|[.!,;]?\s*{_SECOND_THOUGHT}(?:that|this|which|it)(?:['’]s|\s+(?:is|was)))\s*$",
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
    r"|(?:not|never|n['’]t)\s+(?:right|correct|(?:the|our|my|an?)\s+(?:right |correct |final )?answer)\b"
)
_NOTHING_BUT_A_NUMBER = re.compile(rf"[\s$*]*{NUMBER}[\s$*.]*")
# A last number that is part of something: `2^25`, `x_{25}`, `sqrt(25)`, `1,25`, `12:25`, `less than 25`.
_PART_BEFORE = re.compile(
    r"(?:[\^_/]|sqrt)\{?\Z|[A-Za-z]\(?\Z|\d[,: ]\Z|\d, \Z"
    r"|(?:[<≤≥≠±]|!=|[<>]=|(?<=\s)>|(?<![=-])>(?=\s)|(?<!<)\b[nxyz]>)\s*\$?\Z"
    r"|\\(?:neq?|geq?|leq?|[gl]t|pm|ln|log|sin|cos|tan)\s*\$?\Z"
    r"|\d\$?\s*(?:[–—]|\bto\b)\s*\$?\Z|\d[b-hj-z]\s*=\s*\$?\Z"
    r"|[√∛∜]\s*\(?\Z|(?:\d\w*\)?\s*\(?(?:in\s+)?(?:base|choose)|log base)\s+\Z|\}\s*\{\Z|mod\s*\{\s*\Z"
    r"|\d\s+(?:and|plus|times|(?:divided|multiplied) by)\s+\$?\Z|\d,?\s+or\s+\$?[a-z]\s*=\s*\Z"
    r"|\b(?:than|least|most|sqrt|between|not|nor|mod|modulo|twice|out of"
    r"|half|double|divisible by|minus|negative|up to"
    r"|log|ln|sin|cos|tan|(?:root|square|cube|multiple|half|third|quarter|power) of)\s+\$?\Z",
    re.IGNORECASE,
)
_PART_AFTER = re.compile(
    rf"\s*(?:hundred|thousand|{LARGE_SCALE}|dozen|k\b|squared|cubed|factorial|doubled|halved"
    r"|(?:or|and) (?:more|less|fewer|a half)\b|\$?(?:\\(?:pi|sqrt)\b|[π√]))"
    r"|\^(?!\{?\\circ)|(?:st|nd|rd|th|i)\b|[²³½¼¾⅓⅔₀-₉]",
    re.IGNORECASE,
)
_WHOLE_BEFORE = re.compile(r"(?:\A|[\s$(])(\d{1,9}\s+(?:and\s+)?)\Z")  # `3 1/2`, `3 and 1/2`
_COMPOUND = re.compile(
    r"(?<![\w.,])\d{1,9}\s+(?:dollars?|hours?|minutes?|feet|foot|pounds?|years?)(?:,|,?\s+and)\s+\Z"
)
_SCALE_AFTER = re.compile(rf"\s(?:thousand|{LARGE_SCALE})\b(?!\s+(?:or|and)\b)")
# An operand of an expression that goes on: `x + 25`, `20 - 25`, `3 \cdot 25`, `25 + x`, `25x`; or `24 or 25`.
_TIMES = r"[+×·⋅÷/]|\\(?:times|cdot|div|pm)(?![A-Za-z])"
_OPERAND_BEFORE = re.compile(
    rf"(?:[\w)\]}}%]\s*(?:{_TIMES}|(?<!\s)\*|\*(?=\s)|(?<=\d)\s[xX]\s)|(?:%|percent)\s+of\b|\d\$?\s+or\b)\s*\$?(?:\\[dt]?frac\{{)?\Z"
    r"|[\d)]\(\Z"
)
_SUBTRACTED = re.compile(r"(?:(?<![A-Za-z])[A-Za-z]|[\d)\]}%])\s*(?:[-−]\s*\$?)?\Z")
_OPERAND_AFTER = re.compile(
    rf"\s*(?:(?:{_TIMES}|[-−]|(?<=\s)\*|\*(?!\s))\s*)(?:[b-hj-zB-HJ-Z](?![\w'.])|\\[a-z]+|\()|[nxyz](?![\w'])"
)
_SAYS_NOTHING = re.compile(
    r"\W*(?:(?:indeed|also|therefore|thus|then|actually|definitely)\s+)?(?:correct|right|wrong|incorrect"
    r"|reasonable|valid|verified|confirmed|consistent|clear|obvious|unique|found|obtained|given|in|as|an?\s+[a-z]\w*)\b"
    r"(?!\s*[:=])",
    re.IGNORECASE,
)


def extract(
    completion: str, rules: tuple[Rule, ...] = DEFAULT_RULES, *, unfinished_box: UnfinishedBox = "reject"
) -> Extraction:
    r"""The first rule of `rules` that finds an answer, each rule looking for its last occurrence.

    "boxed" takes the last complete non-empty `\boxed{...}` or `\fbox{...}` with balanced braces. A box that
    is opened and never closed (a completion cut at the length limit) is not an answer. If no box is complete,
    `unfinished_box` decides: "reject" (default) finds nothing, because the other rules would read a cut
    number (`\boxed{2` of `\boxed{25}`); "ignore" lets the other rules read the text before that box.

    What a model states after `</think>`, by any rule but the last number unless that is all it says, stands
    before all that it thought.
    A number or box that the text takes back ("is not 24", "24 is wrong") is no answer.
    """
    text = completion[-MAX_COMPLETION_CHARS:]
    text = _without_denied(text)
    _, thought, said = text.rpartition("</think>")
    if thought:
        bare = len(said) < 60 and _NOTHING_BUT_A_NUMBER.fullmatch(said)
        stated = tuple(rule for rule in rules if bare or rule != "final_number")
        if (found := _by_rules(said, stated, unfinished_box)).answer:
            return found
    return _by_rules(text, rules, unfinished_box)


def _by_rules(text: str, rules: tuple[Rule, ...], unfinished_box: UnfinishedBox) -> Extraction:
    for rule in rules:
        unit = ""
        if rule == "boxed":
            answer, unfinished = last_box(text)
            if answer is None and unfinished is not None:
                if unfinished_box == "reject":
                    return Extraction(None, None, "unfinished box")
                text = text[:unfinished]
        elif rule == "answer_tag":
            answer = _last_tag(text)
        elif rule == "final_number":
            answer, unit = _final_number(text)
        else:
            answer = _after_anchor(text, rule)
        if answer:
            return Extraction(answer, rule, rule, unit)
    return Extraction(None, None, "no answer found")


def _last_tag(text: str) -> str | None:
    """What stands in the last complete `<answer>...</answer>`, as `r1_zero` asks for, read as a statement."""
    before, closed, _ = text.rpartition("</answer>")
    _, opened, inner = before.rpartition("<answer>")
    if not closed or not opened:
        return None
    found = _by_rules(inner, ("answer_is", "answer_colon", "hashes"), "ignore").answer
    return found or trim_statement(inner[: 2 * MAX_ANSWER_CHARS].strip())


def _after_anchor(text: str, rule: Rule) -> str | None:
    """The statement after the last anchor that has one; "answer_is" also knows `25 is the answer`."""
    literals, anchor = _ANCHORS[rule]
    for place in reversed(_places(text, literals)[-MAX_ANCHORS:]):
        line = text.rfind("\n", 0, place) + 1
        match = anchor.match(text, line if rule == "a_colon" else place)
        if match is not None and match.end() > place:
            rest = text[match.end() : match.end() + 2 * MAX_ANSWER_CHARS].lstrip(" \t\r\n*:")
            statement = trim_statement(rest)
            if statement and not (rule == "answer_is" and _SAYS_NOTHING.match(statement)):
                return statement
        if rule == "answer_is" and (before := _REVERSED.search(text[max(0, place - 80) : place])):
            return before[1]
    return None


def _places(text: str, literals: tuple[str, ...]) -> list[int]:
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


def _without_denied(text: str) -> str:
    """`text` without the numbers and boxes that it takes back."""
    spans = []
    for place in _places(text, _DENIALS)[-MAX_DENIALS:]:
        if after := _DENIED_NEXT.match(text, place) or _DENIED_STATEMENT.match(text, place):
            spans.append(after.span())
        elif _NOT_RIGHT.match(text, place):
            start = max(0, place - 120)
            if before := _DENIED_BEFORE.search(text[start:place]):
                spans.append((start + before.start(), place))
    if "?" in text:
        spans.extend(match.span() for match in _asked(text))
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]} {text[end:]}"
    return text


def _asked(text: str) -> Iterator[re.Match[str]]:
    """The numbers that a question takes back: `25? No, 24`."""
    for place in _places(text, ("? no", "?\nno", "? wrong"))[-MAX_DENIALS:]:
        line = max(0, place - 80)
        yield from _ASKED.finditer(text, line, place + 10)


def _final_number(text: str) -> tuple[str | None, str]:
    """The last number of the text and its unit; None for a number that is part of something else."""
    span = _last_number(text)
    if span is None:
        return None, ""
    start, end = span
    number, before = text[start:end], text[max(0, start - 30) : start]
    if "/" in number and number[0].isdigit() and (whole := _WHOLE_BEFORE.search(before)):
        start -= len(whole[1])
        number, before = text[start:end], before[: whole.start(1)]
    if (more := _COMPOUND.search(before)) and (unit := UNIT_AFTER.match(text, end)):
        return text[start - len(more[0]) : unit.end()], ""  # `25 dollars and 50 cents`
    if scale := _SCALE_AFTER.match(text, end):
        number, end = number + scale[0], scale.end()
    if is_place(before) or is_false(text, start, number):
        return None, ""
    if _PART_BEFORE.search(before) or _PART_AFTER.match(text, end) or _is_operand(before, number, text, end):
        return None, ""
    after = UNIT_AFTER.match(text, end)
    return number, after[0] if after else ""


def _last_number(text: str) -> tuple[int, int] | None:
    """The span of the last number; it is looked for from its last digit backwards."""
    end = len(text)
    while end > 0 and not text[end - 1].isdigit():
        end -= 1
    end = min(len(text), end + 1)  # a brace closes a fraction
    for start in (max(0, end - 60), max(0, end - 4 * MAX_ANSWER_CHARS)):
        matches = list(FINAL_NUMBER.finditer(text[start:end]))
        if matches and (start == 0 or matches[-1].start() > 0):
            break
    return (start + matches[-1].start(), start + matches[-1].end()) if matches else None


def _is_operand(before: str, number: str, text: str, end: int) -> bool:
    """Whether a number is an operand of an expression that goes on before or after it."""
    if number[0] in "-−" or before.rstrip(" $")[-1:] in ("-", "−"):
        return _SUBTRACTED.search(before) is not None
    return _OPERAND_BEFORE.search(before) is not None or _OPERAND_AFTER.match(text, end) is not None
