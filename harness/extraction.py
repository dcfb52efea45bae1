"""Finding the answer in a completion by explicit rules. Plain string work, linear in the text; no eval."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

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
MAX_ANSWER_CHARS = 500  # the longest MATH answer has 159
MAX_ANCHORS = 20  # so many of the last "answer is" are looked at
MAX_DENIALS = 200


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found: the raw answer and the rule that found it, or None and why."""

    answer: str | None
    rule: Rule | None
    reason: str


_BOX_NAME = r"\\(?:boxed|fbox|framebox)"
_BOX = re.compile(rf"{_BOX_NAME}\s*(?:\{{|-?\d|[A-Za-z]\b)")
_BOX_TOKEN = re.compile(
    rf"({_BOX_NAME}\s*\{{)|{_BOX_NAME}(?:\s*(-?\d[\d.,/]*)|\s+([A-Za-z])\b)|\\.|([{{}}])", re.DOTALL
)
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
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_NUMBER = (
    rf"(?:(?<![\w)}}.])(?:[-−]?\s?\$?{_DECIMAL}\s*/\s*\d+|[-−]?\\[dtc]?frac\{{-?\d+\}}\{{\d+\}}"
    rf"|[-−]\s?\$?{_DECIMAL})(?![\w])|{_DECIMAL})"
)
_FINAL_NUMBER = re.compile(_NUMBER)
_WHOLE = rf"(?<![\d.,]){_NUMBER}"  # tried once a number: no quadratic time on a run of digits
# `25 is the` before "answer".
_REVERSED = re.compile(
    rf"({_WHOLE})[^\w\n]{{0,4}}\s(?:is|was) (?:then |thus |therefore |indeed )?(?:the|our|my|your)"
    r" (?:final |correct |right )*$"
)
# What takes a number back: `is not 24`, `isn't \boxed{24}`, `24 is wrong`, `24 is not the answer`.
_DENIALS = ("not", "n't", "n’t", "never", "wrong", "incorrect")
_SHOWN = rf"[$*\\(\[]{{0,4}}(?:{_BOX_NAME}\s*\{{[^{{}}\n]{{0,60}}\}}|{_WHOLE})[$*\\)\]]{{0,4}}"
_DENIED_NEXT = re.compile(
    rf"(?:(?<![A-Za-z])not|(?<=\bcan)not|n['’]t|never)\s+(?:(?:be|equal|equals|to|actually|simply|just|really|the)\s+){{0,3}}"
    rf"{_SHOWN}(?![\w.,]*\d)"
)
_DENIED_BEFORE = re.compile(rf"{_SHOWN}\s+(?:is|was)\s*$")
_NOT_RIGHT = re.compile(
    r"wrong\b|incorrect\b"
    r"|(?:not|never|n['’]t)\s+(?:right|correct|(?:the|our|my|an?)\s+(?:right |correct |final )?answer)\b"
)
# A blank inside the dollars, or a digit after them, is money: `$5 + $3`.
_MATH_SPAN = re.compile(r"\$\$(.+?)\$\$|\$(?!\s)([^$]+)(?<!\s)\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_PROSE = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|(?:it|is|so|we|he|of)\b)")
_SENTENCE_END = re.compile(r"(?<=\S)(?<!\bi\.e)(?<!\be\.g)[.!?](?=\s|\*|$)")
_SAYS_NOTHING = re.compile(
    r"\W*(?:(?:indeed|also|therefore|thus|then|actually|definitely)\s+)?(?:correct|right|wrong|incorrect"
    r"|reasonable|valid|verified|confirmed|consistent|clear|obvious|unique|found|obtained|given|in|as|an?\s+[a-z]\w*)\b"
    r"(?!\s*[:=])",
    re.IGNORECASE,
)
_REASON = re.compile(r"\s*\((?=[A-Za-z]{2})|\s+\((?=[^()]*=)|,?\s+\b(?:because|since|given that|as there)\b")
_OPERATOR = re.compile(
    r"\s*(?:\\?%\s*|percent\s+)?(?:(?:of|times|x|plus|minus|divided|multiplied)\b|\\times|\\cdot|[*×·+/÷^]|[-−]\s)"
)
_CONCLUSION = re.compile(
    rf"(?:=|\b(?:is|are|equals|gives|makes|i\.e\.,?|or))\s*(?:exactly |just )?({_NUMBER})"
)


def extract(
    completion: str, rules: tuple[Rule, ...] = DEFAULT_RULES, *, unfinished_box: UnfinishedBox = "reject"
) -> Extraction:
    r"""The first rule of `rules` that finds an answer, each rule looking for its last occurrence.

    "boxed" takes the last complete non-empty `\boxed{...}` or `\fbox{...}` with balanced braces. A box that
    is opened and never closed (a completion cut at the length limit) is not an answer. If no box is complete,
    `unfinished_box` decides: "reject" (default) finds nothing, because the other rules would read a cut
    number (`\boxed{2` of `\boxed{25}`); "ignore" lets the other rules read the text before that box.

    What a model states after `</think>`, by any rule but the last number, stands before all that it thought.
    A number or box that the text takes back ("is not 24", "24 is wrong") is no answer.
    """
    text = completion[-MAX_COMPLETION_CHARS:]
    text = _without_denied(text)
    _, thought, said = text.rpartition("</think>")
    if thought:
        stated = tuple(rule for rule in rules if rule != "final_number")
        if (found := _by_rules(said, stated, unfinished_box)).answer:
            return found
    return _by_rules(text, rules, unfinished_box)


def _by_rules(text: str, rules: tuple[Rule, ...], unfinished_box: UnfinishedBox) -> Extraction:
    for rule in rules:
        if rule == "boxed":
            answer, unfinished = _last_box(text)
            if answer is None and unfinished is not None:
                if unfinished_box == "reject":
                    return Extraction(None, None, "unfinished box")
                text = text[:unfinished]
        elif rule == "answer_tag":
            answer = _last_tag(text)
        elif rule == "final_number":
            answer = _final_number(text)
        else:
            answer = _after_anchor(text, rule)
        if answer:
            return Extraction(answer, rule, rule)
    return Extraction(None, None, "no answer found")


def _last_box(text: str) -> tuple[str | None, int | None]:
    """The content of the complete box that ends last, and where the first unfinished box starts."""
    first = _BOX.search(text)
    if first is None:
        return None, None
    answer = None
    stack: list[tuple[int, int] | None] = []  # (start of the marker, start of the content); None for a bare {
    for match in _BOX_TOKEN.finditer(text, first.start()):
        if match[1]:
            stack.append((match.start(), match.end()))
        elif bare := match[2] or match[3]:
            answer = bare.rstrip(".,/")
        elif match[4] == "{":
            stack.append(None)
        elif match[4] == "}" and stack:
            opened = stack.pop()
            if opened is not None and text[opened[1] : match.start()].strip():
                answer = text[opened[1] : match.start()].strip()
    unfinished = next((opened[0] for opened in stack if opened is not None), None)
    return answer, unfinished


def _last_tag(text: str) -> str | None:
    """What stands in the last complete `<answer>...</answer>`, as `r1_zero` asks for, read as a statement."""
    before, closed, _ = text.rpartition("</answer>")
    _, opened, inner = before.rpartition("<answer>")
    if not closed or not opened:
        return None
    found = _by_rules(inner, ("answer_is", "answer_colon", "hashes"), "ignore").answer
    return found or _trim_statement(inner[: 2 * MAX_ANSWER_CHARS].strip())


def _after_anchor(text: str, rule: Rule) -> str | None:
    """The statement after the last anchor that has one; "answer_is" also knows `25 is the answer`."""
    literals, anchor = _ANCHORS[rule]
    for place in reversed(_places(text, literals)[-MAX_ANCHORS:]):
        line = text.rfind("\n", 0, place) + 1
        match = anchor.match(text, line if rule == "a_colon" else place)
        if match is not None and match.end() > place:
            rest = text[match.end() : match.end() + 2 * MAX_ANSWER_CHARS].lstrip(" \t\r\n*:")
            statement = _trim_statement(rest)
            if statement and not (rule == "answer_is" and _SAYS_NOTHING.match(statement)):
                return statement
        if rule == "answer_is" and (before := _REVERSED.search(text[max(0, place - 80) : place])):
            return before[1]
    return None


def _places(text: str, literals: tuple[str, ...]) -> list[int]:
    """Where any of the lower-case literals starts, in order; capitals do not count."""
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
        if after := _DENIED_NEXT.match(text, place):
            spans.append(after.span())
        elif _NOT_RIGHT.match(text, place):
            start = max(0, place - 120)
            if before := _DENIED_BEFORE.search(text[start:place]):
                spans.append((start + before.start(), place))
    for start, end in reversed(spans):
        text = f"{text[:start]} {text[end:]}"
    return text


def _trim_statement(rest: str) -> str | None:
    """The answer at the start of `rest`: a math span, else the first sentence less the prose around it."""
    if rest.startswith(("\\[", "$$")):
        rest = rest.replace("\n", " ")
    line = rest.split("\n", 1)[0]
    span = _MATH_SPAN.search(line)
    if span is not None and not any(c.isdigit() for c in line[: span.start()]):
        inner = next(group for group in span.groups() if group)
        if not _PROSE.search(re.sub(r"\\(?:text|mbox|mathrm|begin|end)\s*\{[^{}]*\}", "", inner)):
            return inner.strip()
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0].strip(" \t*\"'`")
    stated = _REASON.split(sentence, maxsplit=1)[0]
    if any(c.isdigit() for c in stated) or 0 < len(stated.split()) <= 2:
        sentence = stated
    if not any(c.isdigit() for c in sentence):
        return sentence or None
    left = sentence.rpartition("=")[0]
    if not _PROSE.search(sentence) or (left and not _PROSE.search(left)):
        return sentence
    return _number_in(sentence) or sentence


def _number_in(sentence: str) -> str | None:
    """The number that a sentence with words ends in or starts with.

    `18 dollars for 2 days` says 18; `10% of 250, which is 25` is a computation and says what it comes to.
    """
    numbers = list(_FINAL_NUMBER.finditer(sentence))
    if not numbers:
        return None
    if not re.match(r"[-−$(]*[\d.]", sentence):
        return numbers[-1][0]
    if _OPERATOR.match(sentence, numbers[0].end()):
        concluded = [match[1] for match in _CONCLUSION.finditer(sentence)]
        return concluded[-1] if concluded else numbers[0][0]
    return numbers[0][0]


def _final_number(text: str) -> str | None:
    """The last number of the text, which is looked for from its last digit backwards."""
    end = len(text)
    while end > 0 and not text[end - 1].isdigit():
        end -= 1
    end = min(len(text), end + 1)  # a brace closes a fraction
    for start in (max(0, end - 60), max(0, end - 4 * MAX_ANSWER_CHARS)):
        matches = list(_FINAL_NUMBER.finditer(text[start:end]))
        if matches and (start == 0 or matches[-1].start() > 0):
            return matches[-1][0]
    return matches[-1][0] if matches else None
