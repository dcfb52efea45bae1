r"""The one grader, for rewards and evaluation alike: completion and reference -> Grade.

An answer is found by explicit rules (`maths.extraction`), then compared in this order: exact numbers by
Fraction, normalised text, arithmetic without variables by Fraction, and last, for what is left and passes
the allow-list, math-verify in a killable worker (`maths.symbolic`). All but the last import neither sympy
nor math-verify. `0.333` is not 1/3.

Conventions. Units and currency are dropped, unless both sides name a unit and they are not the same
(5 hours, 5 minutes; 5 kg, 5 m); 1.2 m is 120 cm (`maths.measures`). A per cent sign beside an integer is a
unit (25% is 25), beside a fraction it divides: 50% is 1/2, and 0.5% is not. Degrees are dropped too, but
`30^\circ` is also `\pi/6`, and `\sin 30^\circ` one half. A reference as `9:24`, which is no ratio in lowest
terms, is a time of day; `3:10` is a ratio, for 6:20 as well. A chain of equations must be true: `24 = 25`
is not 25, nor as the last number of a text, where `see page 25` says nothing. A number alone in braces or
brackets is that number (`\{25\}`, `[25]`), while `[1,2]` is not `(1,2)`, `[0,\infty]` not `[0,\infty)`,
`[2,-1]` no point, and `\{1,\{2\}\}` not `\{1,2\}`. `y=2, x=1` is `(1,2)` by its labels
(`maths.assignments`). A lettered choice counts as its letter or its value, whichever the reference is. A
modulus may be left out on one side, a base in the answer.
"""

from __future__ import annotations

import re
from fractions import Fraction

from harness.grading.compare import assignments, brackets, measures, relations, symbolic
from harness.grading.compare.answers import (
    canonical_text,
    clock,
    date,
    is_time,
    literal_text,
    normalise,
    same_time,
    with_base,
)
from harness.grading.compare.quantities import (
    INTEGER,
    WRAPPED,
    parse_number,
    proportional,
    ratio,
    without_and,
)
from harness.grading.find.claims import arithmetic
from harness.grading.find.extraction import (
    DEFAULT_RULES,
    MAX_ANSWER_CHARS,
    Extraction,
    Rule,
    UnfinishedBox,
    extract,
)
from harness.types import Grade

__all__ = [
    "DEFAULT_RULES",
    "Extraction",
    "Rule",
    "answer_class",
    "equivalent",
    "extract",
    "grade",
    "number_in",
    "worker_stats",
]

_BARE_LIST = re.compile(r"[^()\[\]{},]+(?:,[^()\[\]{},]+)+")
_POINT = re.compile(r"[A-Z]'?\s*(\([^()=]+,[^()=]+\))")
_TUPLE = re.compile(r"\([^()\[\]]+\)|\[[^()\[\]]+\]")
MAX_ELEMENTS = 12  # of a set with sets in it
worker_stats = symbolic.worker_stats


def grade(
    completion: str,
    reference: str,
    *,
    rules: tuple[Rule, ...] = DEFAULT_RULES,
    unfinished_box: UnfinishedBox = "reject",
    use_symbolic: bool = True,
    exact: bool = False,
) -> Grade:
    """Whether the answer that `rules` find in `completion` equals `reference`.

    The last complete box wins over an earlier one and over every other rule. `unfinished_box` says what a box
    that was never closed means (see `extract`). `use_symbolic=False` never starts a worker. `exact` compares
    the answer as a text, capitals and signs included, and reads no numbers in it. Raises ValueError if the
    reference is empty.
    """
    if not reference.strip():
        raise ValueError(f"reference={reference!r} is empty: drop the problem or give it an answer")
    found = extract(completion, rules, unfinished_box=unfinished_box)
    if found.answer is None:
        return Grade(correct=False, extracted=None, reason=found.reason)
    if exact:
        correct = literal_text(found.answer) == literal_text(reference)
        return Grade(correct, found.answer, f"{found.rule}: {'same' if correct else 'not the same'} text")
    correct, reason = _compare(reference, found.answer + found.unit, use_symbolic=use_symbolic)
    return Grade(correct=correct, extracted=found.answer, reason=f"{found.rule}: {reason}")


def equivalent(reference: str, answer: str) -> bool:
    """Whether two answers (not completions) are equal; reference first, as math-verify is asymmetric."""
    return _compare(reference, answer, use_symbolic=True)[0]


def answer_class(extracted: str) -> str:
    """A canonical key for votes: `n`, `n/d` for numbers, else the normalised text. Starts no worker.

    Two answers that only math-verify finds equal (`x+1`, `1+x`) have different keys.
    """
    if len(extracted) > MAX_ANSWER_CHARS:
        return extracted[:MAX_ANSWER_CHARS]
    said = assignments.as_tuple(relations.spoken(normalise(extracted)))
    number = parse_number(said)
    return canonical_text(said) if number is None else str(number)


def number_in(extracted: str) -> Fraction | None:
    """The number that an extracted answer is, `x = 5` and `3 + 2 = 5` included; None for anything else."""
    return parse_number(relations.spoken(normalise(extracted[:MAX_ANSWER_CHARS])))


def _compare(reference: str, answer: str, *, use_symbolic: bool) -> tuple[bool, str]:
    """Compare values, then units; degrees and another unit of the kind are brought to the reference's."""
    if len(answer) > MAX_ANSWER_CHARS:
        return False, f"answer of {len(answer)} characters is over the cap of {MAX_ANSWER_CHARS}"
    if INTEGER.fullmatch(reference) and INTEGER.fullmatch(answer):
        equal = int(reference) == int(answer)
        return equal, "equal numbers" if equal else "different numbers"
    said = answer.split(" or ")  # `1/2 or 0.5` says one thing twice
    if len(said) > 1 and all(_compare(reference, part, use_symbolic=use_symbolic)[0] for part in said):
        return True, "equal alternatives"
    gold, pred = normalise(reference), normalise(answer)
    verdict = _compare_values(gold, pred, WRAPPED.fullmatch(reference.strip()) is not None, use_symbolic)
    if verdict[0]:
        units = measures.unit_of(reference, gold), measures.unit_of(answer, pred)
        if measures.differ(*units) or measures.pi_in_degrees(reference, units[1]):
            verdict = False, "different units"
    elif measures.may_convert(answer) and all(map(relations.is_name, relations.sides(pred)[0][:-1])):
        units = measures.unit_of(reference, gold), measures.unit_of(answer, pred)
        if measures.same_quantity(*units, gold, pred):
            return True, "equal quantities"
    if not verdict[0] and (radians := measures.in_radians(reference, answer)):
        again = _compare_values(normalise(radians[0]), normalise(radians[1]), False, use_symbolic)
        return again if again[0] else verdict
    return verdict


def _compare_values(gold: str, pred: str, wrapped: bool, use_symbolic: bool) -> tuple[bool, str]:
    """Bring both normalised texts to one form, then compare; more than one value of a chain may be right."""
    if is_time(gold) or (clock(gold) and (time := clock(pred)) and time[3]):
        return same_time(gold, pred), "times of day"
    if gold_date := date(gold):
        return gold_date == date(pred), "dates"
    gold_number, pred_number = parse_number(gold), parse_number(pred)
    if gold_number is not None and pred_number is not None:
        equal = measures.equal_numbers(gold, pred, gold_number, pred_number)
        return equal, "equal numbers" if equal else "different numbers"
    if canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    if gold[:1].isalpha() and wrapped:
        use_symbolic = False  # a word: no product of its letters
    if re.fullmatch("[A-J]", gold) and re.match(r"[A-Za-z]+ [A-Za-z]{2}", pred):
        return False, "words, not a letter"
    aligned = assignments.aligned(*_one_form(gold, pred))
    if aligned is None:
        return False, "labels in no known order"
    gold, pred = aligned
    (gold, gold_modulus), (pred, pred_modulus) = map(relations.without_modulus, (gold, pred))
    if not pred_modulus:
        pred = pred.replace(r"\equiv ", "=")
    if gold_number is not None:
        pred = without_and(pred)
    golds = _references(gold, pred)
    candidates: list[str] | None = [pred]
    if not relations.sides(golds[0])[1]:
        candidates = relations.values(pred, lambda a, b, n: _agree(a, b, n, use_symbolic=use_symbolic))
    if candidates is None:
        return False, "an equation that is false or is still to be solved"
    if pred_modulus and not relations.congruent(pred, pred_modulus, reduced=not gold_modulus):
        return False, "a false congruence or no residue"
    if gold_modulus and pred_modulus:
        return _congruent(golds[0], candidates[0], gold_modulus, pred_modulus)
    verdicts = [_same(g, value, use_symbolic=use_symbolic) for g in golds for value in candidates]
    return next((verdict for verdict in verdicts if verdict[0]), verdicts[0])


def _references(gold: str, pred: str) -> list[str]:
    r"""The sides of a reference that an answer may be: the value of `x = 5`, both of `0.56 = 56\%`."""
    parts, signs = relations.sides(gold)
    if not signs:
        return [gold]
    if not any(map(relations.has_letters, parts)):
        return parts
    named = relations.names_its_value(gold)
    if named and (relations.names_its_value(pred) or not relations.sides(pred)[1]):
        return [relations.spoken(gold)]
    return [gold]


def _one_form(gold: str, pred: str) -> tuple[str, str]:
    """Choices as letters if the reference is one, else as values; inequalities as intervals."""
    gold, pred = brackets.written_inward(gold), brackets.written_inward(pred)
    if r"\cup" in gold + pred:
        gold, pred = brackets.united(gold), brackets.united(pred)
    if gold[:1] == "(" and (point := _POINT.fullmatch(pred)):
        pred = point[1]
    gold_choice, pred_choice = relations.choice(gold), relations.choice(pred)
    if (
        gold_choice
        and pred_choice
        and gold_choice[0] == pred_choice[0] not in (gold_choice[1], pred_choice[1])
    ):
        return gold_choice[1], pred_choice[1]  # `(B) 8` is not `(B) 7`
    if pred_choice and (gold_choice or re.fullmatch("[A-Ja-j]", gold)):
        pred = pred_choice[0]
    elif pred_choice:
        pred = pred_choice[1]
    if gold_choice:
        gold = gold_choice[0] if re.fullmatch("[A-Ja-j]", pred) else gold_choice[1]
    gold_range, pred_range = brackets.intervals(gold), brackets.intervals(pred)
    if gold_range and pred_range:
        return (gold_range[1], pred_range[1]) if gold_range[0] == pred_range[0] else (gold, pred)
    return (gold_range[1] if gold_range else gold), (pred_range[1] if pred_range else pred)


def _congruent(gold: str, pred: str, gold_modulus: int, pred_modulus: int) -> tuple[bool, str]:
    a, b = parse_number(gold), parse_number(pred)
    equal = gold_modulus == pred_modulus and (
        gold == pred or (a is not None and b is not None and (a - b) % gold_modulus == 0)
    )
    return equal, "congruent" if equal else "not congruent"


def _agree(side: str, last: str, decimals: int | None, *, use_symbolic: bool) -> bool:
    """Whether two sides without variables are equal; without the worker the undecided are let pass."""
    if decimals is not None:
        return use_symbolic and symbolic.compare(side, last, decimals=decimals)[0]
    equal, reason = _same(last, side, use_symbolic=use_symbolic)
    return equal or (not use_symbolic and reason == "different text")


def _same(gold: str, pred: str, *, use_symbolic: bool) -> tuple[bool, str]:
    """Whether two normalised answers in one form are equal, and by what."""
    gold_number, pred_number = parse_number(gold), parse_number(pred)
    if gold_number is not None and pred_number is None and not (_TUPLE.fullmatch(pred) and "," in pred):
        pred_number = arithmetic(pred)
    if gold_number is not None and pred_number is not None:
        equal = measures.equal_numbers(gold, pred, gold_number, pred_number)
        return equal, "equal numbers" if equal else "different numbers"
    if canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    (gold_digits, gold_base), (pred_digits, pred_base) = with_base(gold), with_base(pred)
    if gold_base or pred_base:
        # an answer may leave out the base that the problem names; 2516_8 is never 2516_9 nor 2516
        equal = gold_digits == pred_digits and (not pred_base or (gold_base or "10") == pred_base)
        return equal, "equal digits" if equal else "different digits or base"
    gold_ratio, pred_ratio = ratio(gold), ratio(pred)
    if gold_ratio and pred_ratio:
        equal = proportional(gold_ratio, pred_ratio)
        return equal, "equal ratios" if equal else "different ratios"
    if max(len(gold_ratio or ""), len(pred_ratio or "")) > 2:
        return False, "a ratio of several parts is no number"
    nested = brackets.has_nested_set(gold)
    if nested != brackets.has_nested_set(pred):
        return False, "sets of different depth"
    if nested:
        return _same_elements(gold, pred, use_symbolic=use_symbolic)
    if brackets.brackets_differ(gold, pred):
        return False, "a set is no tuple"
    if brackets.ends_differ(gold, pred):
        return False, "other brackets"
    if brackets.repeats_differ(gold, pred):
        return False, "another number of values"
    if use_symbolic and gold.count(r"\pm") == pred.count(r"\pm") == 1 and gold[:3] != pred[:3]:
        return _same_pairs(gold, pred)
    if gold_number is not None and len((brackets.group(pred) or ("", brackets.listed(pred)))[1]) > 1:
        return False, "a list, not one number"
    if _BARE_LIST.fullmatch(gold) and _TUPLE.fullmatch(pred):
        gold = f"{pred[0]}{gold}{pred[-1]}"  # a tuple says an order, and it must be the reference's
    if not use_symbolic or len(gold) == len(pred) == 1 or gold.count("'") != pred.count("'"):
        return False, "different text"
    return symbolic.compare(gold, pred, gold_is_number=gold_number is not None)


def _same_elements(gold: str, pred: str, *, use_symbolic: bool) -> tuple[bool, str]:
    """Sets with sets in them, and tuples of sets, by their elements."""
    golds, preds = brackets.elements(gold), brackets.elements(pred)
    if golds is None or preds is None or golds[0] != preds[0] or len(golds[1]) != len(preds[1]):
        return False, "sets of different depth"
    if len(golds[1]) > MAX_ELEMENTS:
        return False, "different text"

    def same(a: str, b: str) -> bool:
        if {g[0] for g in map(brackets.group, (a, b)) if g} == {"{"} and a[:2] != b[:2]:
            return False  # a set is none of its elements
        return _same(a, b, use_symbolic=use_symbolic)[0]

    if golds[0] == "(":
        equal = all(map(same, golds[1], preds[1]))
    else:
        equal = all(any(same(a, b) for b in preds[1]) for a in golds[1])
        equal = equal and all(any(same(a, b) for a in golds[1]) for b in preds[1])
    return equal, "equal elements" if equal else "different elements"


def _same_pairs(gold: str, pred: str) -> tuple[bool, str]:
    r"""Two texts with one `\pm` each: both values of the one are those of the other, in either order."""
    (a, b), (c, d) = ([text.replace(r"\pm", sign) for sign in "+-"] for text in (gold, pred))
    for x, y in ((c, d), (d, c)):
        if _same(a, x, use_symbolic=True)[0] and _same(b, y, use_symbolic=True)[0]:
            return True, "equal pairs"
    return False, "different pairs"
