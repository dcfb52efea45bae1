r"""Do a reference and an answer, as they were written, say the same? Forms, chains, moduli, choices, units.

Both texts are normalised and brought to one form; `structure` takes them apart. What is left is compared as
numbers first, then as texts, bases and formulas. Of a chain more than one value may be right.
"""

from __future__ import annotations

import re
from fractions import Fraction

from harness.grading.compare import measures, relations, symbolic
from harness.grading.compare.forms import MAX_ANSWER_CHARS, canonical_text, normalise, with_base
from harness.grading.compare.quantities import INTEGER, WRAPPED, parse_number
from harness.grading.compare.structure import SIGN, inside, read, region, same

Verdict = tuple[bool, str]  # equal or not, and by what
_LETTER_OR_SMALL = re.compile("[A-Ja-j]")
_IN_BRACKETS = re.compile(r"(?:\(\s*or\s|\\text\s*\{\s*\(\s*or\s*\})(.*)\)\s*\Z", re.DOTALL)
_ALTERNATIVE = re.compile(r"\s+or\s+|\\text\s*\{\s*or\s*\}")


def compare(reference: str, answer: str, *, use_symbolic: bool) -> Verdict:
    """Compare values, then units: 5 kg is not 5 m, and a unit that one side leaves out does not count."""
    if len(answer) > MAX_ANSWER_CHARS:
        return False, f"answer of {len(answer)} characters is over the cap of {MAX_ANSWER_CHARS}"
    if INTEGER.fullmatch(reference) and INTEGER.fullmatch(answer):
        return _numbers(int(reference) == int(answer))
    said = _ALTERNATIVE.split(_IN_BRACKETS.sub(r" or \1", answer))  # `1/2 (or 0.5)` says one thing twice
    if 1 < len(said) < 9 and all(compare(reference, part, use_symbolic=use_symbolic)[0] for part in said):
        return True, "equal alternatives"
    gold, pred = normalise(reference), normalise(answer)
    use_symbolic = use_symbolic and not WRAPPED.fullmatch(reference.strip())  # a word is no product
    verdict = _chains(*map(relations.as_tuple, one_form(gold, pred)), use_symbolic=use_symbolic)
    units = measures.unit_of(reference, gold), measures.unit_of(answer, pred)
    if verdict[0] and None not in units and units[0] != units[1]:
        return False, "different units"
    return verdict


def _numbers(equal: bool) -> Verdict:
    return equal, "equal numbers" if equal else "different numbers"


def one_form(gold: str, pred: str) -> tuple[str, str]:
    """Choices as letters if the reference is one, else as values; a derivation as what it ends with."""
    if parse_number(gold) is not None or inside(gold) or gold.startswith("\\begin"):
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
    if pred_modulus and not relations.congruent(pred, pred_modulus):
        return False, "a false congruence or no residue"
    if None not in (gold_modulus, pred_modulus) and gold_modulus != pred_modulus:
        return False, "different moduli"
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
    verdict = _single(gold, pred)
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
        alike = (read(a).kind == "set") == (read(b).kind == "set")  # {2} is not 2
        return alike and same_value(a, b, use_symbolic=use_symbolic)[0]

    return (True, "equal parts") if same(*forms, equal) else (False, "different parts")


def _single(gold: str, pred: str) -> Verdict | None:
    """Compare two numbers, equal texts, numbers with a base; None for anything else."""
    a, b = map(_rational, (gold, pred))
    if a is not None and b is not None:
        return _numbers(measures.equal_numbers(gold, pred, a, b))
    if canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    (gold_digits, gold_base), (pred_digits, pred_base) = with_base(gold), with_base(pred)
    if gold_base or pred_base:  # an answer may leave out the problem's base; 2516_8 is never 2516_9 nor 2516
        equal = gold_digits == pred_digits and (not pred_base or (gold_base or "10") == pred_base)
        return equal, "equal digits" if equal else "different digits or base"
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
    if re.search(SIGN, gold + pred):
        return False, "different relations"
    return symbolic.compare(gold, pred, gold_is_number=parse_number(gold) is not None)
