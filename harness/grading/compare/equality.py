r"""Are two normalised answers in one form equal? The first rule of a table that can say so decides.

The order of the rules is their meaning: numbers before texts, bases and ratios before brackets, and
math-verify, in a worker that can be killed, for what is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from harness.grading.compare import brackets, measures, symbolic
from harness.grading.compare.answers import canonical_text, with_base
from harness.grading.compare.quantities import parse_number, proportional, ratio
from harness.grading.steps.arithmetic import value_of

Verdict = tuple[bool, str]  # equal or not, and by what

MAX_ELEMENTS = 12  # of a set with sets in it
_BARE_LIST = re.compile(r"[^()\[\]{},]+(?:,[^()\[\]{},]+)+")
_TUPLE = re.compile(r"\([^()\[\]]+\)|\[[^()\[\]]+\]")


@dataclass(frozen=True, slots=True)
class Pair:
    """A reference and an answer, normalised and in one form, with their values where they are numbers."""

    gold: str
    pred: str
    gold_number: Fraction | None
    pred_number: Fraction | None
    use_symbolic: bool


def same(gold: str, pred: str, *, use_symbolic: bool) -> Verdict:
    """Whether two normalised answers in one form are equal, and by what. Without the worker some are not."""
    gold_number, pred_number = parse_number(gold), parse_number(pred)
    if gold_number is not None and pred_number is None and not (_TUPLE.fullmatch(pred) and "," in pred):
        pred_number = value_of(pred)
    pair = Pair(gold, pred, gold_number, pred_number, use_symbolic)
    for rule in _RULES:
        if (verdict := rule(pair)) is not None:
            return verdict
    return _by_math_verify(pair)


def numbers(gold: str, pred: str, a: Fraction | None, b: Fraction | None) -> Verdict | None:
    """Compare the value a of `gold` with the value b of `pred` exactly; None unless both are numbers."""
    if a is None or b is None:
        return None
    equal = measures.equal_numbers(gold, pred, a, b)
    return equal, "equal numbers" if equal else "different numbers"


def _numbers(pair: Pair) -> Verdict | None:
    return numbers(pair.gold, pair.pred, pair.gold_number, pair.pred_number)


def _texts(pair: Pair) -> Verdict | None:
    return (True, "equal text") if canonical_text(pair.gold) == canonical_text(pair.pred) else None


def _bases(pair: Pair) -> Verdict | None:
    """Numbers with a base. An answer may leave out the problem's; 2516_8 is never 2516_9 nor 2516."""
    (gold_digits, gold_base), (pred_digits, pred_base) = with_base(pair.gold), with_base(pair.pred)
    if not gold_base and not pred_base:
        return None
    equal = gold_digits == pred_digits and (not pred_base or (gold_base or "10") == pred_base)
    return equal, "equal digits" if equal else "different digits or base"


def _ratios(pair: Pair) -> Verdict | None:
    gold, pred = ratio(pair.gold), ratio(pair.pred)
    if gold and pred:
        equal = proportional(gold, pred)
        return equal, "equal ratios" if equal else "different ratios"
    if max(len(gold or ""), len(pred or "")) > 2:
        return False, "a ratio of several parts is no number"
    return None


def _nested_sets(pair: Pair) -> Verdict | None:
    nested = brackets.has_nested_set(pair.gold)
    if nested != brackets.has_nested_set(pair.pred):
        return False, "sets of different depth"
    return _elements(pair) if nested else None


def _brackets(pair: Pair) -> Verdict | None:
    if brackets.brackets_differ(pair.gold, pair.pred):
        return False, "a set is no tuple"
    if brackets.ends_differ(pair.gold, pair.pred):
        return False, "other brackets"
    if brackets.repeats_differ(pair.gold, pair.pred):
        return False, "another number of values"
    return None


def _plus_minus(pair: Pair) -> Verdict | None:
    r"""Texts with one `\pm` each, not both in front: the values of the one are the other's, in any order."""
    gold, pred = pair.gold, pair.pred
    if not (pair.use_symbolic and gold.count(r"\pm") == pred.count(r"\pm") == 1 and gold[:3] != pred[:3]):
        return None
    (a, b), (c, d) = ([text.replace(r"\pm", sign) for sign in "+-"] for text in (gold, pred))
    for x, y in ((c, d), (d, c)):
        if same(a, x, use_symbolic=True)[0] and same(b, y, use_symbolic=True)[0]:
            return True, "equal pairs"
    return False, "different pairs"


def _one_number(pair: Pair) -> Verdict | None:
    if pair.gold_number is None:
        return None
    _, values = brackets.group(pair.pred) or ("", brackets.listed(pair.pred))
    return (False, "a list, not one number") if len(values) > 1 else None


_RULES: tuple[Callable[[Pair], Verdict | None], ...] = (
    _numbers,
    _texts,
    _bases,
    _ratios,
    _nested_sets,
    _brackets,
    _plus_minus,
    _one_number,
)


def _by_math_verify(pair: Pair) -> Verdict:
    gold, pred = pair.gold, pair.pred
    if _BARE_LIST.fullmatch(gold) and _TUPLE.fullmatch(pred):
        gold = f"{pred[0]}{gold}{pred[-1]}"  # a tuple says an order, and it must be the reference's
    if not pair.use_symbolic or len(gold) == len(pred) == 1 or gold.count("'") != pred.count("'"):
        return False, "different text"
    return symbolic.compare(gold, pred, gold_is_number=pair.gold_number is not None)


def _elements(pair: Pair) -> Verdict:
    """Compare sets with sets in them, and tuples of sets, element by element."""
    gold, pred = brackets.elements(pair.gold), brackets.elements(pair.pred)
    if gold is None or pred is None or gold[0] != pred[0] or len(gold[1]) != len(pred[1]):
        return False, "sets of different depth"
    (bracket, golds), (_, preds) = gold, pred
    if len(golds) > MAX_ELEMENTS:
        return False, "different text"

    def equal(a: str, b: str) -> bool:
        return _same_element(a, b, use_symbolic=pair.use_symbolic)

    if bracket == "(":
        alike = all(map(equal, golds, preds))
    else:
        alike = all(any(equal(a, b) for b in preds) for a in golds)
        alike = alike and all(any(equal(a, b) for a in golds) for b in preds)
    return alike, "equal elements" if alike else "different elements"


def _same_element(a: str, b: str, *, use_symbolic: bool) -> bool:
    kinds = {group[0] for group in map(brackets.group, (a, b)) if group}
    if kinds == {"{"} and a[:2] != b[:2]:
        return False  # a set is none of its elements
    return same(a, b, use_symbolic=use_symbolic)[0]
