"""Finding the answer in a completion. Plain string work, linear in the text; no eval."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from harness.grading.code.program import program_in
from harness.grading.compare.forms import MAX_ANSWER_CHARS
from harness.grading.find.boxes import last_box
from harness.grading.find.denials import places, without_denied
from harness.grading.find.languages import in_english
from harness.grading.find.last_number import final_number, is_concluded
from harness.grading.find.statements import PROSE, WRAPPED_TEXT, trim_statement

TextRule = Literal["boxed", "answer_tag", "answer_is", "answer_colon", "a_colon", "hashes", "final_number"]
Rule = Literal[TextRule, "program"]
UnfinishedBox = Literal["reject", "ignore"]

DEFAULT_RULES: tuple[Rule, ...] = get_args(TextRule)
PROGRAM: tuple[Rule, ...] = ("program",)  # stands alone: the answer is code, and its reference holds tests
MAX_COMPLETION_CHARS = 131_072  # only the end of a longer completion is read: about 32k tokens
MAX_ANCHORS = 20  # so many of the last "answer is" are looked at
QUIET = 160  # characters around a box within which nothing may question it, for the short way


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was found: the raw answer and the rule that found it, or None and why.

    `unit` is what stands after a last number, which is an answer without it: ` kg`, `%`. `at` is its place.
    """

    answer: str | None
    rule: Rule | None
    reason: str
    unit: str = ""
    at: int = 0


_NOTHING = Extraction(None, None, "no answer found")
# The end of a thought, in the marks of several models.
_CLOSERS = (
    *("</think>", "</thinking>", "</thought>", "</reasoning>", "[/THINK]", "◁/think▷", "<|end_of_thought|>"),
    "<|channel|>final<|message|>",
)
_END_MARK = re.compile(r"(?:</s>|<\|[A-Za-z_]{1,30}\|>|<(?:eos|end_of_turn|pad)>)\Z")
_STRONG = re.compile(r"(?<!\w)__(?=\S)([^_\n]{1,80})__(?!\w)|(?<!\S)_([-\d.,]{1,40})_(?!\w)")
# What near a last box may question it, or state something after it: looked for in small letters.
_SUSPECT = re.findall(
    "[^|]+",
    "<|[|~|?|oxed|box{|not|n't|never|wrong|mistake|error|doubt|ans|option|choice| no|rather|instead|would"
    "|might|####|a:|a*|a :|result|wait|correct|actually|sorry|oops|should|first|earlier|unlike|initial"
    "|previous|that|this|it |check|trap|misread|forg|someone|tempt|could|was|hold|scratch|hmm",
)
# Each rule's anchor, and literal (lower case) text without which it cannot match: looking for that is faster.
_ANCHORS: dict[Rule, tuple[tuple[str, ...], re.Pattern[str]]] = {
    "answer_is": (
        ("answer", "option", "choice"),
        re.compile(
            r"\b(?:answers?|(?:(?<=correct )|(?<=right )|(?<=best ))(?:option|choice))\b"
            r"(?:(?!\b(?:because|since|it|which|that)\b)[^.\n:]){0,60}?"
            r"\b(?:should(?: have)? be(?:en)?|is|are|was|be|equals)\b\s*:?",
            re.IGNORECASE,
        ),
    ),
    "answer_colon": (
        ("ans", "result"),
        re.compile(
            r"\b(?:ans(?:wer)?|(?<=final )result|(?<![\w ])result)\**\s*[:=]"
            r"|\b(?:(?<=^)|(?<=[\n#*_>] )|(?<=[\n#*_>])|(?<=final ))answers?\b[*_:# \t]*\n(?=\s*\S)",
            re.IGNORECASE,
        ),
    ),
    "a_colon": (("a:", "a*", "a :"), re.compile(r"(?m:^)[ \t*]*A\**[ \t]*:")),
    "hashes": (("####",), re.compile(r"####")),
}
_REVERSED = re.compile(
    r"(?:\s(?:is|was|must be|should be)) (?:then |thus |therefore |indeed |in fact )?(?:the|our|my|your)"
    r" (?:final |correct |right |required |desired )*$"
)
_CLAUSE = re.compile(
    r"[;?\n]|!\s+(?=[A-Z])|\.\s|(?<!\d),\s|(?<=\d),\s(?!\d)|\b(?:so|thus|hence|therefore|then|that|conclude|find|get)\b[,:]?",
    re.IGNORECASE,
)
# Right after a box, what follows may correct it; `Actually` further on is of something else.
_SECOND_THOUGHTS = re.compile(
    r"[^A-Za-z]{0,12}(?:(?:but|oh|hmm+|so|and)[,.]?\s+)*(?:wait|actually|correct(?:ion|ed)|sorry|oops"
    r"|hold on|scratch|no\b|on second thought|let me (?:re|double)?-?\s?check"
    r"|(?:that|this|it)(?:['’]s| is| should| was| can))",
    re.IGNORECASE,
)
_CHECKED = re.compile(
    r"\b(?:check|verify|confirm|test|recall|compare|simplify)\w*\s+(?:our|the|this|that|my|your)\s+(?:\w+\s+)?\Z",
    re.I,
)
_RUN_ON = re.compile(
    r"(?<!\s)\n\s*(?:[#*]+\s*)?(?:Problem|Question|Exercise|Example|Q\s*\d*\s*[:.]|User|Human)\b"
)
_SAYS_NOTHING = re.compile(
    r"(?:indeed |also )?(?:(?:in)?correct|right|wrong|reasonable|valid|verified|confirmed)\b(?!\s*[:=])"
)
_VALUE = re.compile(r"\d|\\[A-Za-z]|[A-Za-z]\W*\Z")


def extract(
    completion: str, rules: tuple[Rule, ...] = DEFAULT_RULES, *, unfinished_box: UnfinishedBox = "reject"
) -> Extraction:
    r"""The answer that a completion states last and plainly, by the first of `rules` that finds one.

    "boxed" takes the last complete non-empty `\boxed{...}` or `\fbox{...}` with balanced braces, several in a
    list together; what another rule than the last number finds after it, plainly, comes before it. A box
    that is opened and never closed (a completion cut at the length limit) is not an answer. If no box is
    complete, `unfinished_box` decides: "reject" (default) finds nothing, because the other rules would read a
    cut number (`\boxed{2` of `\boxed{25}`); "ignore" lets the other rules read the text before that box.

    "program" stands alone: the last block of code, else all that follows the thought.
    """
    if rules == PROGRAM:
        program = program_in(completion)
        return Extraction(program, "program", "program") if program.strip() else _NOTHING
    text = completion[-MAX_COMPLETION_CHARS:]
    if rules[:1] == ("boxed",) and (found := _quiet_box(text)):
        return found
    text = in_english(text).rstrip()
    while text.endswith(">") and (mark := _END_MARK.search(text, max(0, len(text) - 40))):
        text = text[: mark.start()].rstrip()
    if "_" in text:
        text = _STRONG.sub(r"\1\2", text)
    text = without_denied(text)
    said = max((text.rfind(mark) + len(mark) for mark in _CLOSERS if mark in text), default=0)
    if said:
        found = _read(text[said:], rules, unfinished_box, concluded=True)
        if found.answer:
            return found
    return _read(text, rules, unfinished_box)


def _quiet_box(text: str) -> Extraction | None:
    """The last box where it is plain and nothing around it can question it: the short way for most texts."""
    start = text.rfind("\\boxed{")
    end = text.find("}", start) if start >= 0 else -1
    content = text[start + 7 : end]
    if end < 0 or len(text) - end > QUIET or "{" in content or "\\" in content or not content.strip():
        return None
    around = (text[max(0, start - QUIET) : start] + "\n" + text[end:]).lower()
    if not around.isascii() or any(word in around for word in _SUSPECT):
        return None
    return Extraction(content.strip(), "boxed", "boxed", at=start)


def _read(
    text: str, rules: tuple[Rule, ...], unfinished_box: UnfinishedBox, *, concluded: bool = False
) -> Extraction:
    """The rules in order; of a box and of statements after it the last that is plain."""
    if "boxed" in rules:
        box, unfinished = last_box(text)
        if box is None and unfinished is not None:
            if unfinished_box == "reject":
                return replace(_NOTHING, reason="unfinished box")
            text = text[:unfinished]
        if box is not None and rules[0] == "boxed":
            later = _later(text[box.end :], rules[1:])
            return later or Extraction(box.content, "boxed", "boxed", at=box.start)
    for rule in rules:
        if rule == "answer_is" and "answer_colon" in rules:
            both = [_stated(text, "answer_is"), _stated(text, "answer_colon")]
            found = max(both, key=lambda one: (bool(one.answer), one.at))
        elif rule == "boxed":
            found = Extraction(box.content, rule, rule) if box else _NOTHING
        elif rule == "answer_tag":
            found = _last_tag(text)
        elif rule == "final_number":
            found = _last_number(text, concluded=concluded)
        else:
            found = _stated(text, rule)
        if found.answer:
            return found
    return _NOTHING


def _later(tail: str, rules: tuple[Rule, ...]) -> Extraction | None:
    """What is stated plainly after a box: an answer, or a number after a second thought."""
    if len(tail) < 3:
        return None
    tail = _RUN_ON.split(tail, maxsplit=1)[0]
    stating = tuple(rule for rule in rules if rule in ("answer_tag", "answer_is", "answer_colon", "a_colon"))
    found = _read(tail, stating, "ignore") if stating else _NOTHING
    if found.answer and _VALUE.search(found.answer) and not PROSE.search(WRAPPED_TEXT.sub("", found.answer)):
        return found
    corrects = "final_number" in rules and _SECOND_THOUGHTS.match(tail)
    found = _last_number(tail, concluded=True) if corrects else _NOTHING
    return found if found.answer else None


def _last_number(text: str, *, concluded: bool) -> Extraction:
    answer, unit, at = final_number(text)
    if answer is None or (concluded and not is_concluded(text, at)):
        return _NOTHING
    return Extraction(answer, "final_number", "final_number", unit, at)


def _last_tag(text: str) -> Extraction:
    """What stands in the last complete `<answer>...</answer>`, as `r1_zero` asks for, read as a statement."""
    before, closed, _ = text.rpartition("</answer>")
    start, opened, inner = before.rpartition("<answer>")
    if not closed or not opened:
        return _NOTHING
    found = _read(inner, ("answer_is", "answer_colon", "hashes"), "ignore").answer
    answer = found or trim_statement(inner[: 2 * MAX_ANSWER_CHARS].strip())
    return Extraction(answer, "answer_tag", "answer_tag", at=len(start))


def _stated(text: str, rule: Rule) -> Extraction:
    """The statement after the last anchor that has one; "answer_is" also knows `25 is the answer`."""
    literals, anchor = _ANCHORS[rule]
    for place in reversed(places(text, literals)[-MAX_ANCHORS:]):
        line = text.rfind("\n", 0, place) + 1
        match = anchor.match(text, line if rule == "a_colon" else place)
        statement = None
        if match is not None and match.end() > place and not _CHECKED.search(text, max(0, place - 40), place):
            rest = text[match.end() : match.end() + 2 * MAX_ANSWER_CHARS].lstrip(" \t\r\n*:_>")
            statement = None if _SAYS_NOTHING.match(rest) else trim_statement(rest)
        if statement is None and rule == "answer_is":
            statement = _reversed(text[max(0, place - 120) : place])
        if statement:
            return Extraction(statement, rule, rule, at=place)
    return _NOTHING


def _reversed(before: str) -> str | None:
    """What a clause says to be the answer, `25` of `So 25 is the ` (answer); read as any other statement."""
    match = _REVERSED.search(before)
    if match is None:
        return None
    clause = _CLAUSE.split(f" {before[: match.start()]}")[-1].strip()
    if clause.endswith("!"):
        return clause
    return (
        trim_statement(clause) if re.search(r"\d|\$.+\$", clause) and not clause.endswith("which") else None
    )
