"""The problems' own solutions as outputs to train on: the offline source `reference`."""

from __future__ import annotations

from typing import Any

from harness.data.references import references, style_of
from harness.objectives.selection import accepted
from harness.records.published import warn
from harness.training.experience import score
from harness.training.rollout_metrics import rollout_metrics
from harness.training.run_state import Run
from harness.types import Problem, Rollout, ScoredGroup

_OF_SAMPLES = ("zero_variance_groups", "sampled_tokens")  # metrics that solutions do not have


def reference_rows(run: Run) -> tuple[list[ScoredGroup], dict[str, Any]]:
    """One-row groups of the accepted solutions, in the order of the problems; metrics of all solutions.

    A solution is left out and counted if it is longer than `rollout.max_new_tokens`, its end token included,
    or with its prompt than the model's positions, and if it cannot be written in this form
    (`harness.data.references`). The others are graded and rewarded as samples are. Nothing is stored: config,
    data and tokenizer decide every row. Raises ValueError where no solution is left.
    """
    objective, longest = run.config.objective, run.config.rollout.max_new_tokens
    style = style_of(run.config, opened=run.codec.opens_thought(run.config.data.template))
    with run.timed("grade"):
        made, unusable = references(run.problems, style)
        written = [(problem, _rollout(run, problem, text)) for problem, text in made]
        fitting = [(p, r) for p, r in written if len(r.completion_ids) <= min(longest, _room(run, p))]
        too_long = len(written) - len(fitting)
        _check_lengths(written, too_long, longest)
        groups = score(run, [p for p, _ in fitting], [r for _, r in fitting], group_size=1)
    rows = accepted(groups, threshold=objective.advantage.threshold, cap_per_problem=None, dedupe=False)
    if not rows:
        raise ValueError(
            f"none of {len(groups)} reference solutions was accepted, so there is nothing to train on; look "
            "at data.answer_rules and objective.advantage.threshold"
        )
    metrics = {name: x for name, x in rollout_metrics(groups).items() if name not in _OF_SAMPLES}
    counts = {
        "accepted_samples": len(rows),
        "unusable_references": unusable.total(),
        "too_long_references": too_long,
    }
    return rows, {**metrics, **counts}


def _rollout(run: Run, problem: Problem, text: str) -> Rollout:
    """The solution's tokens and the end token, as if they had been sampled."""
    ids = tuple(run.encode(text))
    return Rollout(problem.id, 0, (*ids, run.codec.eos_token_ids[0]), run.decode(ids), None, "stop")


def _room(run: Run, problem: Problem) -> int:
    """Positions of the model that the prompt leaves."""
    return run.models.policy.dims.max_position_embeddings - len(run.prompts[problem.id].token_ids)


def _check_lengths(written: list[tuple[Problem, Rollout]], too_long: int, longest: int) -> None:
    """Warn of solutions that are too long. Raises ValueError where all are."""
    if not too_long:
        return
    lengths = sorted(len(rollout.completion_ids) for _, rollout in written)
    said = (
        f"{too_long} of {len(written)} reference solutions are longer than rollout.max_new_tokens={longest}, "
        "or with their prompt than the model's positions"
    )
    if too_long == len(written):
        raise ValueError(f"{said}: the shortest has {lengths[0]} tokens; raise the limit")
    warn(f"{said}, and left out of training; the longest has {lengths[-1]} tokens")
