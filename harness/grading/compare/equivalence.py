"""Do a reference and an answer, as they were written, say the same? Units, chains, moduli, choices, labels.

Both texts are normalised and brought to one form; `equality` then compares single values. Of an answer that
is a chain of equations, more than one value may be right.
"""

from __future__ import annotations

import re

from harness.grading.compare import assignments, brackets, measures, relations, symbolic
from harness.grading.compare.answers import (
    MAX_ANSWER_CHARS,
    canonical_text,
    clock,
    date,
    is_time,
    normalise,
    same_time,
)
from harness.grading.compare.equality import Verdict, numbers, same
from harness.grading.compare.quantities import INTEGER, WRAPPED, parse_number, without_and

_POINT = re.compile(r"[A-Z]'?\s*(\([^()=]+,[^()=]+\))")
_LETTER = re.compile("[A-J]")
_LETTER_OR_SMALL = re.compile("[A-Ja-j]")
_WORDS = re.compile(r"[A-Za-z]+ [A-Za-z]{2}")


def compare(reference: str, answer: str, *, use_symbolic: bool) -> Verdict:
    """Compare values, then units; degrees and other units of a kind are brought to the reference's."""
    if len(answer) > MAX_ANSWER_CHARS:
        return False, f"answer of {len(answer)} characters is over the cap of {MAX_ANSWER_CHARS}"
    if INTEGER.fullmatch(reference) and INTEGER.fullmatch(answer):
        equal = int(reference) == int(answer)
        return equal, "equal numbers" if equal else "different numbers"
    said = answer.split(" or ")  # `1/2 or 0.5` says one thing twice
    if len(said) > 1 and all(compare(reference, part, use_symbolic=use_symbolic)[0] for part in said):
        return True, "equal alternatives"
    gold, pred = normalise(reference), normalise(answer)
    wrapped = WRAPPED.fullmatch(reference.strip()) is not None
    verdict = _with_units(reference, answer, gold, pred, _values(gold, pred, wrapped, use_symbolic))
    if not verdict[0] and (radians := measures.in_radians(reference, answer)):
        again = _values(normalise(radians[0]), normalise(radians[1]), False, use_symbolic)
        return again if again[0] else verdict
    return verdict


def _with_units(reference: str, answer: str, gold: str, pred: str, verdict: Verdict) -> Verdict:
    """The verdict on values corrected by units: 5 kg is not 5 m, and 1.2 m is 120 cm."""
    if verdict[0]:
        units = measures.unit_of(reference, gold), measures.unit_of(answer, pred)
        if measures.differ(*units) or measures.pi_in_degrees(reference, units[1]):
            return False, "different units"
    elif measures.may_convert(answer) and all(map(relations.is_name, relations.sides(pred)[0][:-1])):
        units = measures.unit_of(reference, gold), measures.unit_of(answer, pred)
        if measures.same_quantity(*units, gold, pred):
            return True, "equal quantities"
    return verdict


def _values(gold: str, pred: str, wrapped: bool, use_symbolic: bool) -> Verdict:
    """Compare normalised texts; `wrapped` says that the reference was the content of a `\\text{}`."""
    if verdict := _as_written(gold, pred):
        return verdict
    if gold[:1].isalpha() and wrapped:
        use_symbolic = False  # a word: no product of its letters
    if _LETTER.fullmatch(gold) and _WORDS.match(pred):
        return False, "words, not a letter"
    number = parse_number(gold) is not None
    aligned = assignments.aligned(*one_form(gold, pred))
    if aligned is None:
        return False, "labels in no known order"
    return _chains(*aligned, gold_is_number=number, use_symbolic=use_symbolic)


def _as_written(gold: str, pred: str) -> Verdict | None:
    """Compare times, dates, plain numbers and equal texts; None for what has to be brought to one form."""
    if is_time(gold) or (clock(gold) and (time := clock(pred)) and time[3]):
        return same_time(gold, pred), "times of day"
    if gold_date := date(gold):
        return gold_date == date(pred), "dates"
    verdict = numbers(gold, pred, parse_number(gold), parse_number(pred))
    if verdict is None and canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    return verdict


def _chains(gold: str, pred: str, *, gold_is_number: bool, use_symbolic: bool) -> Verdict:
    """Compare what chains of equations and congruences give as their values."""
    (gold, gold_modulus), (pred, pred_modulus) = map(relations.without_modulus, (gold, pred))
    if not pred_modulus:
        pred = pred.replace(r"\equiv ", "=")
    if gold_is_number:
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
    verdicts = [same(g, value, use_symbolic=use_symbolic) for g in golds for value in candidates]
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


def one_form(gold: str, pred: str) -> tuple[str, str]:
    """Choices as letters if the reference is one, else as values; inequalities as intervals."""
    gold, pred = brackets.written_inward(gold), brackets.written_inward(pred)
    if r"\cup" in gold + pred:
        gold, pred = brackets.united(gold), brackets.united(pred)
    if gold[:1] == "(" and (point := _POINT.fullmatch(pred)):
        pred = point[1]
    gold_choice, pred_choice = relations.choice(gold), relations.choice(pred)
    if gold_choice and pred_choice and _says_more(gold_choice, pred_choice):
        return gold_choice[1], pred_choice[1]
    gold, pred = _as_chosen(gold, pred, gold_choice, pred_choice)
    return _as_intervals(gold, pred)


def _says_more(gold: tuple[str, str], pred: tuple[str, str]) -> bool:
    """Whether two choices of one letter both give their value: `(B) 8` is not `(B) 7`."""
    return gold[0] == pred[0] and gold[0] not in (gold[1], pred[1])


def _as_chosen(
    gold: str, pred: str, gold_choice: tuple[str, str] | None, pred_choice: tuple[str, str] | None
) -> tuple[str, str]:
    if pred_choice:
        by_letter = gold_choice or _LETTER_OR_SMALL.fullmatch(gold)
        pred = pred_choice[0] if by_letter else pred_choice[1]
    if gold_choice:
        gold = gold_choice[0] if _LETTER_OR_SMALL.fullmatch(pred) else gold_choice[1]
    return gold, pred


def _as_intervals(gold: str, pred: str) -> tuple[str, str]:
    """Inequalities as intervals, unless both are ones and in different variables."""
    gold_range, pred_range = brackets.intervals(gold), brackets.intervals(pred)
    if gold_range and pred_range and gold_range[0] != pred_range[0]:
        return gold, pred
    return (gold_range[1] if gold_range else gold), (pred_range[1] if pred_range else pred)


def _congruent(gold: str, pred: str, gold_modulus: int, pred_modulus: int) -> Verdict:
    a, b = parse_number(gold), parse_number(pred)
    equal = gold_modulus == pred_modulus and (
        gold == pred or (a is not None and b is not None and (a - b) % gold_modulus == 0)
    )
    return equal, "congruent" if equal else "not congruent"


def _agree(side: str, last: str, decimals: int | None, *, use_symbolic: bool) -> bool:
    """Whether two sides without variables are equal; without the worker the undecided are let pass."""
    if decimals is not None:
        return use_symbolic and symbolic.compare(side, last, decimals=decimals)[0]
    equal, reason = same(last, side, use_symbolic=use_symbolic)
    return equal or (not use_symbolic and reason == "different text")
