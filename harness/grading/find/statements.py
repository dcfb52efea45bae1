"""Reading what a sentence states as the answer: one value, or the sentence where it says more."""

from __future__ import annotations

import re

from harness.grading.compare.forms import EASTERN, EASTERN_UNIT
from harness.grading.compare.measures import UNIT_AFTER
from harness.grading.compare.quantities import changes_value
from harness.grading.lexicon import DECIMAL, SCALES

NUMBER = (
    rf"(?:(?<![\w)}}.])(?:[-−]?\s?\$?{DECIMAL}\s*/\s*\d+|[-−]?(?:\d+\s?)?\\[dtc]?frac\{{-?\d+\}}\{{\d+\}}"
    rf"|[-−]\s?\$?{DECIMAL})(?![\w])|{DECIMAL})"
)
FINAL_NUMBER = re.compile(NUMBER)
# A blank inside the dollars, or a digit after them, is money: `$5 + $3`.
_MATH_SPAN = re.compile(r"\$\$(.+?)\$\$|\$(?!\s)([^$]+)(?<!\s)\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\]")
WRAPPED_TEXT = re.compile(r"\\(?:text|mbox|mathrm|begin|end)\s*\{[^{}]*\}")
PROSE = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|(?:it|is|so|we|he|of)\b)")
_SENTENCE_END = re.compile(r"(?<=\S)(?<!\bi\.e)(?<!\be\.g)[.!?](?=\s|\*|$)")
_EMPTY = re.compile(r"\s*\(\s*(?:\)|(?=\.?\s*$))")  # where a denied number stood
_REASON = re.compile(
    r"\s*\((?!or\b|maybe\b|perhaps\b)(?=[A-Za-z]{2})|\s+\((?=[^()]*=)"
    r"|,?\s+\b(?:because|since|given that|as there)\b"
)
_LINE_END = re.compile(rf"\n|</|;\s+(?=[^\W\d_]{{3}})|,\s*(?=[{EASTERN}]{{2}})")
_EASTERN_LEAD = re.compile(rf"^[{EASTERN}, ]+(?=[-\d$\\])")
_NOT_THAT = re.compile(r",?\s+not\s+\(?\w+\)?\Z")
_OPERATOR = re.compile(
    r"\s*(?:\\?%\s*|percent\s+)?(?:(?:of|times|x|plus|minus|divided|multiplied)\b|\\times|\\cdot|[*×·+/÷^]|[-−]\s)"
)
_CONCLUSION = re.compile(
    rf"(?:=|\b(?:is|are|equals|gives|makes|i\.e\.,?|or))\s*(?:exactly |just )?({NUMBER})"
)
# What a number stands with and is not part of: `for 3 days`, `, which is 5 more than 20`.
_BESIDES = re.compile(
    r",?\s+(?:which|where|so|for|in|after|per|every|each|within|during)\b|,?\s+an?\s+\w+\s+for\b"
)
_ALTERNATIVE = re.compile(r"\b(?:or|and|but|nor|versus|vs|maybe|perhaps)\b", re.IGNORECASE)
_SAYS = re.compile(r"\b(?:is|are|was|be|equals)\b|[=:]")
_FRACTION_OF = re.compile(r"\b(?:square|cube|multiple|percent|half|third|quarter|power)s? of\b")
_OPEN_BEFORE = re.compile(r"[\^_/]\{?\Z|[A-Za-z][({]?\Z")
_SCALE_AFTER = re.compile(rf"\s*(?:{'|'.join(SCALES)})s?(?![A-Za-z])", re.IGNORECASE)
_HEDGED = frozenset(
    re.findall(r"\w+", "or either maybe perhaps possibly not if twice half double negative minus opposite")
)
_BEFORE = {"is", "are", "was", "to", "at", "and", "about", "around", "approximately", "nearly"}


def trim_statement(rest: str) -> str | None:
    """The answer at the start of `rest`: a math span, else the first sentence less the prose around it."""
    if rest.startswith(("\\[", "$$")):
        rest = rest.replace("\n", " ")
    line = _EMPTY.sub("", _LINE_END.split(rest, maxsplit=1)[0])
    if (span := _stated_span(line)) is not None:
        return span
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0].strip(" \t*\"'`")
    if not sentence.isascii():
        sentence = _EASTERN_LEAD.sub("", EASTERN_UNIT.sub("", sentence))
    stated = _REASON.split(sentence, maxsplit=1)[0]
    if _has_digit(stated) or 0 < len(stated.split()) <= 2:
        sentence = stated
    if not _has_digit(sentence):
        return _NOT_THAT.sub("", sentence) or None
    left = sentence.rpartition("=")[0]
    if not PROSE.search(sentence) or (left and not PROSE.search(left)):
        return sentence
    return _number_in(sentence) or sentence


def _stated_span(line: str) -> str | None:
    """The content of a line's first formula, unless the words around it change its value or add another."""
    span = _MATH_SPAN.search(line)
    if span is None or _has_digit(line[: span.start()]):
        return None
    inner = next(group for group in span.groups() if group)
    if PROSE.search(WRAPPED_TEXT.sub("", inner)):
        return None
    after = _SENTENCE_END.split(line[span.end() :], maxsplit=1)[0]
    leaves = _leaves_value(line[: span.start()], _REASON.split(after, maxsplit=1)[0])
    return inner.strip() if leaves else None


def _has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _leaves_value(before: str, after: str) -> bool:
    """Whether the words around a value leave it as it is, and hold no second one."""
    said = list(_SAYS.finditer(before))
    lead, near = (before[: said[-1].start()], before[said[-1].end() :]) if said else ("", before)
    besides = _BESIDES.search(after)
    if besides and not _ALTERNATIVE.search(after[besides.start() :]):
        after = after[: besides.start()]
    if _has_digit(near + after) or _FRACTION_OF.search(near) or _OPEN_BEFORE.search(before):
        return False
    words = [w.lower() for w in re.findall(r"[A-Za-z]+", near)]
    return (
        _HEDGED.isdisjoint(re.findall(r"[a-z]+", lead.lower()))
        and not any(changes_value(w) for w in words if w not in _BEFORE)
        and not any(changes_value(w) for w in re.findall(r"[A-Za-z]+", after))
    )


def _number_in(sentence: str) -> str | None:
    """The one number that a sentence with words states (`18 dollars for 2 days`); None where it says more."""
    numbers = list(FINAL_NUMBER.finditer(sentence := sentence.removeprefix("but ")))
    if not numbers:
        return None
    last = numbers[-1]
    concluded = [match.span(1) for match in _CONCLUSION.finditer(sentence)]
    computed = re.match(r"[-−$(]*[\d.]", sentence) and _OPERATOR.match(sentence, numbers[0].end())
    aside = re.match(r"\s+(?:for|when|if|where)\b", sentence[numbers[0].end() :])  # `25 for n = 3`
    at = last if last.span() in concluded and not aside else numbers[0]
    if computed and at is not last:
        return None
    scale = _SCALE_AFTER.match(sentence, at.end())
    end = scale.end() if scale else at.end()
    if not scale and (unit := UNIT_AFTER.match(sentence, end)) and not _OPERATOR.match(sentence, end):
        end = unit.end()
    before = "" if computed else sentence[: at.start()]
    return sentence[at.start() : end] if _leaves_value(before, sentence[end:]) else None
