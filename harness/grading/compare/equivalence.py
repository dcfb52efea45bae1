r"""Do a reference and an answer, as they were written, say the same? Forms, chains, moduli, choices, units.

Both texts are normalised and brought to one form; `structure` takes them apart. What is left is compared as
numbers first, then as texts, bases, ratios and formulas. Of a chain more than one value may be right.
"""

from __future__ import annotations

import re

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
from harness.grading.compare.structure import SIGN, inside, read, region, same, split, written_inward
from harness.grading.compare.times import clock, date, is_time, same_time

Verdict = tuple[bool, str]  # equal or not, and by what
_POINT = re.compile(r"[A-Z]'?\s*(\([^()=]+,[^()=]+\))")
_MEMBER = re.compile(r"\A[A-Za-z]\s*\\in(?![A-Za-z])\s*(?!\\mathbb)")
_LETTER_OR_SMALL = re.compile("[A-Ja-j]")
_WORDS = re.compile(r"[A-Za-z]+ [A-Za-z]{2}")
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
    said = _ALTERNATIVE.split(answer)  # `1/2 or 0.5` says one thing twice
    if 1 < len(said) < 9 and all(compare(reference, part, use_symbolic=use_symbolic)[0] for part in said):
        return True, "equal alternatives"
    gold, pred = normalise(reference), normalise(answer)
    wrapped = WRAPPED.fullmatch(reference.strip()) is not None
    verdict = _with_units(reference, answer, gold, pred, _values(gold, pred, wrapped, use_symbolic))
    if not verdict[0] and (radians := measures.in_radians(reference, answer)):
        again = _values(normalise(radians[0]), normalise(radians[1]), False, use_symbolic)
        return again if again[0] else verdict
    return verdict


def _numbers(equal: bool) -> Verdict:
    return equal, "equal numbers" if equal else "different numbers"


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
    if is_time(gold) or (clock(gold) and (time := clock(pred)) and time[3]):
        return same_time(gold, pred), "times of day"
    if gold_date := date(gold):
        return gold_date == date(pred), "dates"
    numbers = parse_number(gold), parse_number(pred)
    if numbers[0] is not None and numbers[1] is not None:
        return _numbers(measures.equal_numbers(gold, pred, numbers[0], numbers[1]))
    if canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    if gold[:1].isalpha() and wrapped:
        use_symbolic = False  # a word: no product of its letters
    if re.fullmatch("[A-J]", gold) and _WORDS.match(pred):
        return False, "words, not a letter"
    aligned = relations.aligned(*one_form(gold, pred, number=numbers[0] is not None))
    if aligned is None:
        return False, "labels in no known order"
    return _chains(*aligned, use_symbolic=use_symbolic)


def one_form(gold: str, pred: str, *, number: bool) -> tuple[str, str]:
    """Choices as letters if the reference is one, else as values; a derivation as what it ends with."""
    gold, pred = (_MEMBER.sub("", written_inward(text)) for text in (gold, pred))
    bound = _BOUND.fullmatch(gold), _BOUND.fullmatch(pred)
    if bound[0] and bound[1]:  # `2\pi k, k \in Z`
        letter = rf"(?<![A-Za-z\\]){bound[1][2]}(?![A-Za-z])"
        gold, pred = bound[0][1], re.sub(letter, bound[0][2], bound[1][1])
    if number or inside(gold) or gold.startswith("\\begin"):
        pred = without_and(relations.concluded(pred)) if number else relations.concluded(pred)
    if gold[:1] == "(" and (point := _POINT.fullmatch(pred)):
        pred = point[1]
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
        alike = golds[0] == candidates[0] or (a is not None and b is not None and (a - b) % gold_modulus == 0)
        return gold_modulus == pred_modulus and alike, "congruence"
    verdicts = [same_value(g, value, use_symbolic=use_symbolic) for g in golds for value in candidates]
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
    if re.search(r"\\(?:cup|cap|setminus)(?![A-Za-z])", gold + pred):
        unions = [split(text, re.compile(r"\\cup(?![A-Za-z])")) for text in (gold, pred)]
        if len(unions[0]) == len(unions[1]) > 1:
            equal = all(
                any(same_value(a, b, use_symbolic=use_symbolic)[0] for b in unions[1]) for a in unions[0]
            )
            return equal, "unions"
        return False, "different unions"
    forms = read(gold), read(pred)
    if {form.kind for form in forms} == {"one"}:
        return _formulas(forms[0].items[0], forms[1].items[0], use_symbolic)
    equal = same(*forms, lambda a, b: _same_element(a, b, use_symbolic))
    return equal, "equal parts" if equal else "different parts"


def _single(gold: str, pred: str, use_symbolic: bool) -> Verdict | None:
    """Compare two numbers, equal texts, numbers with a base and ratios; None for anything else."""
    numbers = [parse_number(text) for text in (gold, pred)]
    if None in numbers:
        numbers = [
            symbolic.rational(t) if n is None else n for t, n in zip((gold, pred), numbers, strict=True)
        ]
    a, b = numbers
    if a is not None and b is not None:
        return _numbers(measures.equal_numbers(gold, pred, a, b))
    if canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    (gold_digits, gold_base), (pred_digits, pred_base) = with_base(gold), with_base(pred)
    if gold_base or pred_base:  # an answer may leave out the problem's base; 2516_8 is never 2516_9 nor 2516
        equal = gold_digits == pred_digits and (not pred_base or (gold_base or "10") == pred_base)
        return equal, "equal digits" if equal else "different digits or base"
    first, second = ratio(gold), ratio(pred)
    if first and second:
        return proportional(first, second), "ratios"
    parts, number = (first, b) if first else (second, a)
    if parts and number is not None:
        return len(parts) == 2 and parts[0] == number * parts[1], "a ratio and a number"
    return None


def _same_element(gold: str, pred: str, use_symbolic: bool) -> bool:
    """Whether two elements are equal; a set is none of its elements."""
    if (read(gold).kind == "set") != (read(pred).kind == "set"):
        return False
    return same_value(gold, pred, use_symbolic=use_symbolic)[0]


def _formulas(gold: str, pred: str, use_symbolic: bool) -> Verdict:
    gold, pred = map(measures.without_unit, (gold, pred))
    if not use_symbolic or len(gold) == len(pred) == 1:
        return False, "different text"
    if r"\infty" in gold + pred:
        equal = gold.lstrip("+ ") == pred.lstrip("+ ")
        return equal, "infinity"
    signs = [re.findall(SIGN, text) for text in (gold, pred)]
    if signs[0] or signs[1]:
        if len(signs[0]) != 1 or len(signs[1]) != 1:
            return False, "different relations"
        return symbolic.compare_inequalities(_above(gold, signs[0][0]), _above(pred, signs[1][0]))
    return symbolic.compare(gold, pred, gold_is_number=parse_number(gold) is not None)


def _above(text: str, sign: str) -> tuple[str, bool]:
    """(what is above 0, whether it may be 0) of an inequality."""
    left, right = text.split(sign)
    if sign[0] == "<" or sign.startswith(r"\l"):
        left, right = right, left
    return f"({left})-({right})", sign not in ("<", ">", r"\lt", r"\gt")
