"""The one grader, for rewards and evaluation alike: completion and reference -> Grade.

An answer is found by explicit rules (`harness.answers.extract`), then compared in this order: exact numbers
by Fraction, normalised text, and last, for what is left and passes the allow-list, math-verify in a killable
worker (`harness.symbolic`). The first two import neither sympy nor math-verify. `0.333` is not 1/3.
"""

from __future__ import annotations

from harness import symbolic
from harness.answers import (
    DEFAULT_RULES,
    MAX_ANSWER_CHARS,
    Extraction,
    Rule,
    UnfinishedBox,
    canonical_text,
    extract,
    literal_text,
    normalise,
    parse_number,
    without_base,
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
    "worker_stats",
]

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
    correct, reason = _compare(reference, found.answer, use_symbolic=use_symbolic)
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
    normalised = normalise(extracted)
    number = parse_number(normalised)
    return canonical_text(normalised) if number is None else str(number)


def _compare(reference: str, answer: str, *, use_symbolic: bool) -> tuple[bool, str]:
    if len(answer) > MAX_ANSWER_CHARS:
        return False, f"answer of {len(answer)} characters is over the cap of {MAX_ANSWER_CHARS}"
    gold, pred = normalise(reference), normalise(answer)
    gold_number, pred_number = parse_number(gold), parse_number(pred)
    if gold_number is not None and pred_number is not None:
        equal = gold_number == pred_number
        return equal, "equal numbers" if equal else "different numbers"
    if canonical_text(gold) == canonical_text(pred):
        return True, "equal text"
    if (without_base(gold) != gold) or (without_base(pred) != pred):
        # the subscript may be left out on one side, as the problem names the base; 2516_8 is never 2516_9
        equal = without_base(gold) == pred or gold == without_base(pred)
        return equal, "equal digits, base left out" if equal else "different text"
    if not use_symbolic or (len(gold) == 1 and len(pred) == 1):
        return False, "different text"
    return symbolic.compare(gold, pred, gold_is_number=gold_number is not None)
