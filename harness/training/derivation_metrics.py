"""What a policy's derivations look like during training: where a hacked process reward shows.

A reward for steps can be raised without better answers: by more steps, by saying the same one again, by
statements that are true without any work. `derivation_true` is the checker's own truth, beside which
`step_reward`, what a learned process reward pays, may drift away.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.grading.steps.check import Step, check_steps
from harness.grading.steps.trivial import is_trivial
from harness.schema.run_config import RunConfig
from harness.types import ScoredGroup


def derivation_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Means over all samples, or over all statements of all samples; these are left out where there is none.

    derivation_steps     statements an output
    derivation_true      share of statements that are true
    derivation_repeated  share that stand before in the same output, blanks apart
    derivation_trivial   share that are true or false without any work (grading.steps.trivial)
    """
    outputs = [check_steps(rollout.text).steps for group in groups for rollout in group.rollouts]
    steps = [step for of in outputs for step in of]
    metrics = {"derivation_steps": len(steps) / len(outputs)}
    if steps:
        metrics |= {
            "derivation_true": sum(step.ok for step in steps) / len(steps),
            "derivation_repeated": sum(map(num_repeated, outputs)) / len(steps),
            "derivation_trivial": sum(map(is_trivial, steps)) / len(steps),
        }
    return metrics


def reads_derivations(config: RunConfig) -> bool:
    """Whether a run measures them: where steps are rewarded, and where `rollout.step_metrics` asks for it."""
    reward = config.objective.reward
    return bool(reward.steps or reward.step_model) or config.rollout.step_metrics


def num_repeated(steps: Sequence[Step]) -> int:
    """How many statements stand before among these, blanks apart."""
    said = ["".join(f"{step.lhs}={step.rhs}".split()) for step in steps]
    return len(said) - len(set(said))
