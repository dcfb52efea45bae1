"""Rule-based rewards: (rollout, grade, problem) -> float. Pure; what is random is a hash of what it is for.

`score` evaluates named terms and `weighted_sum` adds them up, so that each term can be logged on its own.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from harness.objectives.language import share_of_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.types import Grade, Problem, Rollout

_THINK_THEN_ANSWER = re.compile(r"<think>(?P<think>.*?)</think>(?P<answer>.*)", re.DOTALL)


def accuracy(*, rollout: Rollout, grade: Grade, problem: Problem) -> float:
    """1 if the grader found the answer right, else 0 (DeepSeek-R1, arXiv:2501.12948 §2.2.2)."""
    return float(grade.correct)


def format_r1(*, rollout: Rollout, grade: Grade, problem: Problem, opened: bool = False) -> float:
    """1 for `<think>…</think>` (one pair, not blank, first) followed by an answer, else 0.

    arXiv:2501.12948 §2.2.2. Something must stand after the thinking; what the answer is, the grader says.
    `opened`: the prompt ends with `<think>`, which then counts as the output's own.
    """
    text = "<think>" + rollout.text if opened else rollout.text
    match = _THINK_THEN_ANSWER.fullmatch(text.strip())
    if match is None or grade.extracted is None:
        return 0.0
    tags_once = text.count("<think>") == 1 and text.count("</think>") == 1
    return float(tags_once and bool(match["think"].strip()) and bool(match["answer"].strip()))


def format_answer(*, rollout: Rollout, grade: Grade, problem: Problem) -> float:
    """Control: 1 for an output that ended by itself and has an answer that the grader can read, else 0.

    As accuracy with `truncated: fail`, but for whether the answer is right.
    """
    return float(rollout.finish_reason == "stop" and grade.extracted is not None)


def tests(*, rollout: Rollout, grade: Grade, problem: Problem) -> float:
    """Share of its tests that the output's program passes, in [0, 1].

    APPS calls it the test case average (arXiv:2105.09938 §4.2).
    """
    return grade.tests or 0.0


def language_consistency(
    *, rollout: Rollout, grade: Grade, problem: Problem, script: str, opened: bool = False
) -> float:
    """Share of the thought's words that are of the target language (DeepSeek-R1, arXiv:2501.12948 §2.3.2).

    Told by script: `harness.objectives.language` says what a word is. `opened`: as in `format_r1`.
    """
    return share_of_words(rollout.text, script=script, opened=opened)


def length_penalty(*, rollout: Rollout, grade: Grade, problem: Problem, max_tokens: int) -> float:
    """-|o| / max_tokens: 0 for an empty output, -1 at the limit. Tokens, the end token included."""
    return -len(rollout.completion_ids) / max_tokens


def soft_overlong(
    *, rollout: Rollout, grade: Grade, problem: Problem, max_tokens: int, buffer_tokens: int
) -> float:
    """DAPO's soft overlong punishment (arXiv:2503.14476 eq. 13), in [-1, 0].

    0 up to max_tokens - buffer_tokens, then linear down to -1 at max_tokens and beyond.
    """
    excess = len(rollout.completion_ids) - (max_tokens - buffer_tokens)
    return -min(max(excess, 0) / buffer_tokens, 1.0)


def random(*, rollout: Rollout, grade: Grade, problem: Problem, p: float, seed: int) -> float:
    """Control: Bernoulli(p), fixed by (seed, problem, sample, policy step) through a hash."""
    key = f"{seed}\x1f{problem.id}\x1f{rollout.sample_idx}\x1f{rollout.policy_step}".encode()
    draw = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64  # in [0, 1)
    return float(draw < p)


def inverted(*, rollout: Rollout, grade: Grade, problem: Problem) -> float:
    """Control: 1 for an answer that was extracted and is wrong, else 0. No answer earns nothing."""
    return float(not grade.correct and grade.extracted is not None)


def score(
    *, rollout: Rollout, grade: Grade, problem: Problem, terms: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """Each term's value, unweighted: `terms` maps a name of REWARDS to its parameters (weight excluded).

    Raises ValueError for an unknown name.
    """
    unknown = sorted(set(terms) - set(REWARDS))
    if unknown:
        raise ValueError(f"rewards: unknown {', '.join(unknown)}; choose from {', '.join(REWARDS)}")
    return {
        name: REWARDS[name](rollout=rollout, grade=grade, problem=problem, **params)
        for name, params in terms.items()
    }


def weighted_sum(parts: Mapping[str, float], *, weights: Mapping[str, float]) -> float:
    """Sum of weight * term. Raises KeyError if a term has no weight."""
    return sum((weights[name] * value for name, value in parts.items()), 0.0)


REWARDS: dict[str, Callable[..., float]] = {
    "accuracy": accuracy,
    "format_r1": format_r1,
    "format_answer": format_answer,
    "tests": tests,
    "language_consistency": language_consistency,
    "length_penalty": length_penalty,
    "soft_overlong": soft_overlong,
    "random": random,
    "inverted": inverted,
}
