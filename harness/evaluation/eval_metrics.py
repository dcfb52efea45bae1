"""What an EvalRecord says of scored samples: the fields, and every metric by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.stats.metrics import Estimate, avg_at_k, best_constant_answer, best_of_k, maj_at_k, pass_at_k
from harness.grading.score import Score, votes
from harness.types import Problem, Rollout


@dataclass(frozen=True, slots=True)
class Scored:
    """The rollouts of one problem, in sample order, with their scores."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
    scores: tuple[Score, ...]


def record_fields(
    sampled: Sequence[Scored],
    greedy: Sequence[Scored] | None,
    rerank: Mapping[str, list[list[float]]] | None = None,
) -> dict[str, Any]:
    """The fields of an EvalRecord that come from the samples, and from reward models' scores of them."""
    scores = dict(rerank or {})
    constant, accuracy = best_constant_answer([row.problem.answer for row in sampled])
    fields: dict[str, Any] = {
        "n_problems": len(sampled),
        "k": len(sampled[0].scores),
        "problem_ids": [row.problem.id for row in sampled],
        "pair_ids": [row.problem.pair_id for row in sampled],
        "topics": [row.problem.topic for row in sampled],
        "levels": [row.problem.level for row in sampled],
        "correct": [[int(s.correct) for s in row.scores] for row in sampled],
        "answers": [votes(row.scores) for row in sampled],
        "stepped": [[int(s.stepped) for s in row.scores] for row in sampled],
        "num_steps": [[s.num_steps for s in row.scores] for row in sampled],
        "num_wrong_steps": [[s.num_wrong_steps for s in row.scores] for row in sampled],
        "lengths": [[len(r.completion_ids) for r in row.rollouts] for row in sampled],
        "truncated": [[int(r.finish_reason == "length") for r in row.rollouts] for row in sampled],
        "best_constant": accuracy,
        "best_constant_answer": constant,
        "rerank_scores": scores,
        "metrics": metric_values(sampled, greedy, scores),
    }
    if greedy is not None:
        fields["greedy_correct"] = [int(row.scores[0].correct) for row in greedy]
        fields["greedy_lengths"] = [len(row.rollouts[0].completion_ids) for row in greedy]
    return fields


def metric_values(
    sampled: Sequence[Scored],
    greedy: Sequence[Scored] | None = None,
    rerank: Mapping[str, list[list[float]]] | None = None,
) -> dict[str, float]:
    """`metrics` of an EvalRecord. A metric that the data cannot give (no sample of the kind) is left out.

    avg_at_k                     share of right samples
    pass_at_1, _2, _4 ... _k     at least one of so many samples is right, unbiased
    maj_at_k                     a majority vote of the k samples is right
    best_of_k_outcome, _process  the sample that a reward model scores highest is right (`rerank`)
    *_se_sampling, *_se_problems standard errors: these problems fixed; across problems
    greedy, greedy_se_problems   share of problems right by greedy decoding, and its error across problems
    direct_share                 samples without a checkable step
    extracted_share              samples in which an answer was found
    truncated_share              samples stopped by max_new_tokens
    mean_length                  tokens a sample, end token included
    greedy_mean_length, greedy_truncated_share, greedy_direct_share    the same of the greedy completions
    accuracy_direct, accuracy_stepped   share of right samples among those without, with steps
    step_validity                share of right steps, pooled over all steps of all samples
    right_with_wrong_step        among right samples with steps: at least one step is wrong (a lower bound)
    wrong_with_all_steps_right   among wrong samples with steps: no step is wrong
    sourced_steps                share of steps whose operands are in the problem or earlier results
    last_step_answers            among samples with steps and a number as answer: the last step's value is it
    """
    correct = [[s.correct for s in row.scores] for row in sampled]
    k = min(map(len, correct))
    answers = [votes(row.scores) for row in sampled]
    values = _with_errors("avg_at_k", avg_at_k(correct))
    for size in sorted({2**i for i in range(k.bit_length()) if 2**i <= k} | {k}):
        values |= _with_errors(f"pass_at_{size}", pass_at_k(correct, size))
    values |= _with_errors("maj_at_k", maj_at_k(correct, answers, k))
    for name, scored in (rerank or {}).items():
        values |= _with_errors(f"best_of_k_{name}", best_of_k(correct, scored))
    scores = [s for row in sampled for s in row.scores]
    stepped = [s for s in scores if s.stepped]
    wrong, num_steps = sum(s.num_wrong_steps for s in stepped), sum(s.num_steps for s in stepped)
    values |= _shape(sampled)
    values |= {
        "extracted_share": _share([s.extracted is not None for s in scores]),
        "accuracy_direct": _share([s.correct for s in scores if not s.stepped]),
        "accuracy_stepped": _share([s.correct for s in stepped]),
        "step_validity": 1 - wrong / num_steps if num_steps else None,
        "right_with_wrong_step": _share([s.num_wrong_steps > 0 for s in stepped if s.correct]),
        "wrong_with_all_steps_right": _share([s.num_wrong_steps == 0 for s in stepped if not s.correct]),
        "last_step_answers": _share([x for s in stepped if (x := s.last_step_answers) is not None]),
    }
    unsourced = [s.num_unsourced_steps for s in stepped]
    if num_steps and None not in unsourced:
        values["sourced_steps"] = 1 - sum(map(int, filter(None, unsourced))) / num_steps
    if greedy is not None:
        estimate = avg_at_k([[s.correct for s in row.scores] for row in greedy])
        values |= {"greedy": estimate.value, "greedy_se_problems": estimate.se_problems}
        values |= {f"greedy_{name}": value for name, value in _shape(greedy).items()}
    return {name: value for name, value in values.items() if value is not None}


def _with_errors(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {
        name: estimate.value,
        f"{name}_se_sampling": estimate.se_sampling,
        f"{name}_se_problems": estimate.se_problems,
    }


def _shape(rows: Sequence[Scored]) -> dict[str, float | None]:
    rollouts = [r for row in rows for r in row.rollouts]
    return {
        "direct_share": _share([not s.stepped for row in rows for s in row.scores]),
        "truncated_share": _share([r.finish_reason == "length" for r in rollouts]),
        "mean_length": sum(len(r.completion_ids) for r in rollouts) / len(rollouts),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
