r"""Do a reference and an answer, as they were written, say the same? Forms, chains, moduli, choices, units.

Both texts are normalised and brought to one form; `structure` takes them apart. What is left is compared as
numbers first, then as texts, bases, ratios and formulas. Of a chain more than one value may be right.
"""

from __future__ import annotations

import re
from fractions import Fraction

from harness.grading.compare import measures, relations, symbolic
from harness.grading.compare.forms import MAX_ANSWER_CHARS, canonical_text, normalise, with_base
from harness.grading.compare.quantities import (
    INTEGER,
    WRAPPED,
    parse_number,
    proportional,
    ratio,
    without_and,
)
from harness.grading.compare.structure import SIGN, inside, read, region, same

Verdict = tuple[bool, str]  # equal or not, and by what
_NAME = re.compile(  # `x \in [1,2]`, `A(1,2)`
    r"\A(?:[A-Za-z]\s*\\in(?![A-Za-z])\s*(?!\\mathbb)|[A-Z]'?\s*(?=\([^()=]+,[^()=]+\)\Z))"
)
_LETTER_OR_SMALL = re.compile("[A-Ja-j]")
_IN_BRACKETS = re.compile(r"(?:\(\s*or\s|\\text\s*\{\s*\(\s*or\s*\})(.*)\)\s*\Z", re.DOTALL)
_ALTERNATIVE = re.compile(r"\s+or\s+|\\text\s*\{\s*or\s*\}")
_BOUND = re.compile(
    r"(.+?),?\s*(?:\\text\s*\{[^{}]*\}\s*|where\s+|for\s+)?([a-z])\s*\\in\s*\\mathbb\{Z\}", re.DOTALL
)


def compare(reference: str, answer: str, *, use_symbolic: bool) -> Verdict:
    """Compare values, then units; degrees and other units of a kind are brought to the reference's."""
    if len(answer) > MAX_ANSWER_CHARS:
        return False, f"answer of {len(answer)} characters is over the cap of {MAX_ANSWER_CHARS}"
    if INTEGER.fullmatch(reference) and INTEGER.fullmatch(answer):
        return _numbers(int(reference) == int(answer))
    said = _ALTERNATIVE.split(_IN_BRACKETS.sub(r" or \1", answer))  # `1/2 (or 0.5)` says one thing twice
    if 1 < len(said) < 9 and all(compare(reference, part, use_symbolic=use_symbolic)[0] for part in said):
        return True, "equal alternatives"
    use_symbolic = use_symbolic and not WRAPPED.fullmatch(
        reference.strip()
    )  # a word is no product of letters
    gold, pred = normalise(reference), normalise(answer)
    verdict = _with_units(reference, answer, gold, pred, _values(gold, pred, use_symbolic))
    if not verdict[0] and measures.are_angles(f"{reference} {answer}"):
        if parse_number(gold) is not None and re.search("arc|-1", answer):
            reference += "°"  # beside `\arctan 1 = 45^\circ` a number alone is in degrees
        again = _values(normalise(reference, radians=True), normalise(answer, radians=True), use_symbolic)
        return again if again[0] else verdict
    return verdict


def _numbers(equal: bool) -> Verdict:
    return equal, "equal numbers" if equal else "different numbers"


def _with_units(reference: str, answer: str, gold: str, pred: str, verdict: Verdict) -> Verdict:
    """The verdict on values corrected by units: 5 kg is not 5 m, and 1.2 m is 120 cm."""
    units = measures.unit_of(reference, gold), measures.unit_of(answer, pred)
    if verdict[0] and (measures.differ(*units) or measures.pi_in_degrees(reference, units[1])):
        return False, "different units"
    if verdict[0] or not measures.same_quantity(*units, gold, pred):
        return verdict
    named = all(map(relations.is_name, relations.sides(pred)[0][:-1]))
    return (True, "equal quantities") if named else verdict


def _values(gold: str, pred: str, use_symbolic: bool) -> Verdict:
    """Compare normalised texts."""
    same_time = measures.same_time(gold, pred)
    if same_time is not None:
        return same_time, "times"
    aligned = relations.aligned(*one_form(gold, pred))
    if aligned is None:
        return False, "labels in no known order"
    return _chains(*aligned, use_symbolic=use_symbolic)


def one_form(gold: str, pred: str) -> tuple[str, str]:
    """Choices as letters if the reference is one, else as values; a derivation as what it ends with."""
    gold, pred = (_NAME.sub("", text) for text in (gold, pred))
    bound = _BOUND.fullmatch(gold), _BOUND.fullmatch(pred)
    if bound[0] and bound[1]:  # `2\pi k, k \in Z`
        letter = rf"(?<![A-Za-z\\]){bound[1][2]}(?![A-Za-z])"
        gold, pred = bound[0][1], re.sub(letter, bound[0][2], bound[1][1])
    if parse_number(gold) is not None:
        pred = without_and(relations.concluded(pred))
    elif inside(gold) or gold.startswith("\\begin"):
        pred = relations.concluded(pred)
    a, b = relations.choice(gold), relations.choice(pred)
    if a and b and a[0] == b[0] and a[0] not in (a[1], b[1]):
        return a[1], b[1]  # `(B) 8` is not `(B) 7`
    if b:
        pred = b[0] if a or _LETTER_OR_SMALL.fullmatch(gold) else b[1]
    if a:
        gold = a[0] if _LETTER_OR_SMALL.fullmatch(pred) else a[1]
    return gold, pred


def _chains(gold: str, pred: str, *, use_symbolic: bool) -> Verdict:
    """Compare what chains of equations and congruences give as their values."""
    (gold, gold_modulus), (pred, pred_modulus) = map(relations.without_modulus, (gold, pred))
    if not pred_modulus:
        pred = pred.replace(r"\equiv ", "=")
    golds = _references(gold, pred)
    candidates: list[str] | None = [pred]
    if not relations.sides(golds[0])[1]:
        candidates = relations.values(pred, lambda a, b: _agree(a, b, use_symbolic))
    if candidates is None:
        return False, "an equation that is false or is still to be solved"
    if pred_modulus and not relations.congruent(pred, pred_modulus, reduced=not gold_modulus):
        return False, "a false congruence or no residue"
    if gold_modulus and pred_modulus:
        a, b = parse_number(golds[0]), parse_number(candidates[0])
        alike = a is not None and b is not None and (a - b) % gold_modulus == 0
        return gold_modulus == pred_modulus and alike, "congruence"
    verdicts = [same_value(g, value, use_symbolic=use_symbolic) for g in golds for value in candidates]
    return next((verdict for verdict in verdicts if verdict[0]), verdicts[0])


def _references(gold: str, pred: str) -> list[str]:
    r"""The sides of a reference that an answer may be: the value of `x = 5`, both of `0.56 = 56\%`."""
    parts = relations.sides(gold)[0]
    if not any(map(relations.has_letters, parts)):
        return parts
    named = relations.names_its_value
    return [relations.spoken(gold) if named(gold) and (named(pred) or not relations.sides(pred)[1]) else gold]


def _agree(a: str, b: str, use_symbolic: bool) -> bool:
    """Whether two sides are equal; where formulas may not be compared, the undecided are let pass."""
    equal, reason = same_value(a, b, use_symbolic=use_symbolic)
    return equal or (not use_symbolic and reason == "different text")


def same_value(gold: str, pred: str, *, use_symbolic: bool) -> Verdict:
    """Whether two texts in one form are equal, and by what: parts of the line, then part by part."""
    verdict = _single(gold, pred, use_symbolic)
    if verdict is not None:
        return verdict
    if (gold_region := region(gold)) and (pred_region := region(pred)):
        names = {gold_region[0], pred_region[0]} - {""}
        if gold_region[1] == pred_region[1] and len(names) < 2:
            return True, "equal parts of the line"
    forms = read(gold), read(pred)
    if {form.kind for form in forms} == {"one"}:
        return _formulas(forms[0].items[0], forms[1].items[0], use_symbolic)

    def equal(a: str, b: str) -> bool:
        alike = (read(a).kind == "set") == (read(b).kind == "set")  # a set is none of its elements
        return alike and same_value(a, b, use_symbolic=use_symbolic)[0]

    return (True, "equal parts") if same(*forms, equal) else (False, "different parts")


def _single(gold: str, pred: str, use_symbolic: bool) -> Verdict | None:
    """Compare two numbers, equal texts, numbers with a base and ratios; None for anything else."""
    a, b = map(_rational, (gold, pred))
    if a is not None and b is not None:
        return _numbers(measures.equal_numbers(gold, pred, a, b))
    if canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    (gold_digits, gold_base), (pred_digits, pred_base) = with_base(gold), with_base(pred)
    if gold_base or pred_base:  # an answer may leave out the problem's base; 2516_8 is never 2516_9 nor 2516
        equal = gold_digits == pred_digits and (not pred_base or (gold_base or "10") == pred_base)
        return equal, "equal digits" if equal else "different digits or base"
    if (first := ratio(gold)) and (second := ratio(pred)):
        return proportional(first, second), "ratios"
    return None


def _rational(text: str) -> Fraction | None:
    number = parse_number(text)
    return symbolic.rational(text) if number is None else number


def _formulas(gold: str, pred: str, use_symbolic: bool) -> Verdict:
    gold, pred = map(measures.without_unit, (gold, pred))
    if not use_symbolic:
        return False, "different text"
    if r"\infty" in gold + pred:
        return gold.lstrip("+ ") == pred.lstrip("+ "), "infinity"
    signs = [re.findall(SIGN, text) for text in (gold, pred)]
    if signs == [[], []]:
        return symbolic.compare(gold, pred, gold_is_number=parse_number(gold) is not None)
    if len(signs[0]) != 1 or len(signs[1]) != 1:
        return False, "different relations"
    return symbolic.compare_inequalities(_above(gold, signs[0][0]), _above(pred, signs[1][0]))


def _above(text: str, sign: str) -> tuple[str, bool]:
    """(what is above 0, whether it may be 0) of an inequality."""
    left, right = reversed(text.split(sign)) if sign[0] == "<" else text.split(sign)
    return f"({left})-({right})", "=" in sign
