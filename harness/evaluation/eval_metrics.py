"""From scored samples to the fields of an EvalRecord, and every metric by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.stats.metrics import Estimate, avg_at_k, best_constant_answer, best_of_k, maj_at_k, pass_at_k
from harness.grading.score import Score, votes
from harness.grading.steps.chain import Chain
from harness.types import Problem, Rollout


@dataclass(frozen=True, slots=True)
class Scored:
    """The rollouts of one problem, in sample order, with their scores.

    `chains` are those of a problem of several parts, None for a completion without a step; else empty.
    """

    problem: Problem
    rollouts: tuple[Rollout, ...]
    scores: tuple[Score, ...]
    chains: tuple[Chain | None, ...] = ()

    def is_valid_chain(self, sample: int) -> bool:
        """Whether a sample is right by a chain of right steps through every part of the problem."""
        chain = self.chains[sample] if self.chains else None
        return self.scores[sample].correct and chain is not None and chain.valid


def record_fields(
    sampled: Sequence[Scored],
    greedy: Sequence[Scored] | None,
    rerank: Mapping[str, list[list[float]]] | None = None,
) -> dict[str, Any]:
    """The fields of an EvalRecord that come from the samples and from reward models' scores of them."""
    scores = dict(rerank or {})
    problems = [row.problem for row in sampled]
    constant, accuracy = best_constant_answer([problem.answer for problem in problems])
    fields: dict[str, Any] = {
        "n_problems": len(sampled),
        "k": len(sampled[0].scores),
        "problem_ids": [problem.id for problem in problems],
        "pair_ids": [problem.pair_id for problem in problems],
        "topics": [problem.topic for problem in problems],
        "levels": [problem.level for problem in problems],
        "correct": _of_scores(sampled, lambda score: int(score.correct)),
        "answers": [votes(row.scores) for row in sampled],
        "stepped": _of_scores(sampled, lambda score: int(score.stepped)),
        "num_steps": _of_scores(sampled, lambda score: score.num_steps),
        "num_wrong_steps": _of_scores(sampled, lambda score: score.num_wrong_steps),
        "num_unsourced_steps": _unsourced(sampled),
        **_chain_fields(sampled),
        "lengths": _of_rollouts(sampled, lambda rollout: len(rollout.completion_ids)),
        "truncated": _of_rollouts(sampled, lambda rollout: int(rollout.finish_reason == "length")),
        "best_constant": accuracy,
        "best_constant_answer": constant,
        "rerank_scores": scores,
        "metrics": metric_values(sampled, greedy, scores),
    }
    if greedy is not None:
        fields["greedy_correct"] = [int(row.scores[0].correct) for row in greedy]
        fields["greedy_lengths"] = [len(row.rollouts[0].completion_ids) for row in greedy]
    return fields


def _chain_fields(rows: Sequence[Scored]) -> dict[str, Any]:
    """Valid chains and templates, [problem][sample]; none where a problem does not consist of parts."""
    if not all(row.chains for row in rows):
        return {}
    return {
        "valid_chains": [[int(row.is_valid_chain(i)) for i in range(len(row.scores))] for row in rows],
        "templates": [[None if chain is None else chain.digest for chain in row.chains] for row in rows],
    }


def _of_scores(rows: Sequence[Scored], value: Callable[[Score], int]) -> list[list[int]]:
    """A number of each sample's score, [problem][sample]."""
    return [[value(score) for score in row.scores] for row in rows]


def _unsourced(rows: Sequence[Scored]) -> list[list[int]] | None:
    """Steps with an unsourced operand, [problem][sample]; None without every problem's text to search."""
    found = [[score.num_unsourced_steps for score in row.scores] for row in rows]
    known = [[number for number in row if number is not None] for row in found]
    return known if known == found else None


def _of_rollouts(rows: Sequence[Scored], value: Callable[[Rollout], int]) -> list[list[int]]:
    """A number of each sample's rollout, [problem][sample]."""
    return [[value(rollout) for rollout in row.rollouts] for row in rows]


def metric_values(
    sampled: Sequence[Scored],
    greedy: Sequence[Scored] | None = None,
    rerank: Mapping[str, list[list[float]]] | None = None,
) -> dict[str, float]:
    """`metrics` of an EvalRecord. A metric without a sample that it is about is left out.

    avg_at_k                     share of right samples
    pass_at_1, _2, _4 ... _k     at least one of this many samples is right, unbiased
    maj_at_k                     a majority vote of the k samples is right
    best_of_k_outcome, _process  the sample that a reward model scores highest is right (`rerank`)
    *_se_sampling, *_se_problems standard errors: with these problems fixed; across problems. None where all
                                 problems are wrong or all right
    greedy, greedy_se_problems   share of problems right by greedy decoding, and its error across problems
    direct_share                 share of samples without a checkable step
    extracted_share              share of samples in which an answer was found
    truncated_share              share of samples stopped by max_new_tokens
    mean_length                  tokens per sample, end token included
    greedy_mean_length, greedy_truncated_share, greedy_direct_share    the same for greedy completions
    accuracy_direct, accuracy_stepped   share of right samples among those without, and with, steps
    step_validity                share of right steps, pooled over all steps of all samples
    right_with_wrong_step        among right samples with steps: at least one step is wrong (a lower bound)
    wrong_with_all_steps_right   among wrong samples with steps: no step is wrong
    sourced_steps                share of steps whose operands are in the problem or earlier results
    last_step_answers            among samples with steps and a number as answer: the last step gives it
    valid_chain                  share of samples right by a chain of right, sourced steps through every part
                                 (harness/grading/steps/chain.py); of problems of several parts
    """
    values = _accuracies(sampled, rerank or {}) | _shape(sampled)
    values |= _step_metrics([score for row in sampled for score in row.scores])
    if all(row.chains for row in sampled):
        values["valid_chain"] = _share(
            [row.is_valid_chain(i) for row in sampled for i in range(len(row.scores))]
        )
    if greedy is not None:
        estimate = avg_at_k([[s.correct for s in row.scores] for row in greedy])
        values |= {"greedy": estimate.value, "greedy_se_problems": estimate.errors[1]}
        values |= {f"greedy_{name}": value for name, value in _shape(greedy).items()}
    return {name: value for name, value in values.items() if value is not None}


def _accuracies(
    sampled: Sequence[Scored], rerank: Mapping[str, list[list[float]]]
) -> dict[str, float | None]:
    """avg@k, pass@k, maj@k and best-of-k, each with both standard errors."""
    correct = [[s.correct for s in row.scores] for row in sampled]
    k = min(map(len, correct))
    values = _with_errors("avg_at_k", avg_at_k(correct))
    for size in sorted({2**i for i in range(k.bit_length()) if 2**i <= k} | {k}):
        values |= _with_errors(f"pass_at_{size}", pass_at_k(correct, size))
    values |= _with_errors("maj_at_k", maj_at_k(correct, [votes(row.scores) for row in sampled], k))
    for name, scores in rerank.items():
        values |= _with_errors(f"best_of_k_{name}", best_of_k(correct, scores))
    return values


def _step_metrics(scores: Sequence[Score]) -> dict[str, float | None]:
    """Extraction, and the step check's verdicts on derivations; None where no sample is of the kind."""
    stepped, direct = _split(scores, lambda score: score.stepped)
    right, wrong = _split(stepped, lambda score: score.correct)
    num_steps = sum(s.num_steps for s in stepped)
    num_wrong = sum(s.num_wrong_steps for s in stepped)
    return {
        "extracted_share": _share([s.extracted is not None for s in scores]),
        "accuracy_direct": _share([s.correct for s in direct]),
        "accuracy_stepped": _share([s.correct for s in stepped]),
        "step_validity": 1 - num_wrong / num_steps if num_steps else None,
        "right_with_wrong_step": _share([s.num_wrong_steps > 0 for s in right]),
        "wrong_with_all_steps_right": _share([s.num_wrong_steps == 0 for s in wrong]),
        "last_step_answers": _share(
            [s.last_step_answers for s in stepped if s.last_step_answers is not None]
        ),
        "sourced_steps": _sourced_share(stepped, num_steps),
    }


def _split(scores: Sequence[Score], test: Callable[[Score], bool]) -> tuple[list[Score], list[Score]]:
    """Scores that pass a test, and the others."""
    return [s for s in scores if test(s)], [s for s in scores if not test(s)]


def _sourced_share(stepped: Sequence[Score], num_steps: int) -> float | None:
    """Share of steps with sourced operands; None without steps, or without a problem's text to search."""
    unsourced = [s.num_unsourced_steps for s in stepped]
    if not num_steps or None in unsourced:
        return None
    return 1 - sum(number or 0 for number in unsourced) / num_steps


def _with_errors(name: str, estimate: Estimate) -> dict[str, float | None]:
    sampling, problems = estimate.errors
    return {name: estimate.value, f"{name}_se_sampling": sampling, f"{name}_se_problems": problems}


def _shape(rows: Sequence[Scored]) -> dict[str, float | None]:
    rollouts = [r for row in rows for r in row.rollouts]
    return {
        "direct_share": _share([not s.stepped for row in rows for s in row.scores]),
        "truncated_share": _share([r.finish_reason == "length" for r in rollouts]),
        "mean_length": sum(len(r.completion_ids) for r in rollouts) / len(rollouts),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
