"""A learned process reward: P(right | problem, output so far) at the end of each step of a derivation.

The steps are the arithmetic statements that harness.grading.steps finds; the answer, at the output's last
token, is the last step, so an output without a statement has one step. arXiv:2305.20050, arXiv:2312.08935.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.model.dims import flops_per_token
from harness.reward_models.classifier import held_out, judge, probabilities, train
from harness.reward_models.graded import Source, continued, graded
from harness.reward_models.reward_model import classifier_on, in_run, source_of
from harness.schema.reward_config import ProcessRewardModelConfig
from harness.seeds import derive
from harness.training.critic import ValueModel
from harness.training.step_rewards import step_rewards
from harness.types import Problem, Prompt, Rollout, StepReward

if TYPE_CHECKING:
    from harness.training.run_state import Run

NAME = "process_reward_model"
Decode = Callable[[Sequence[int]], str]


class ProcessRewardModel:
    """A `ValueModel` read at the last token of each step."""

    def __init__(
        self, model: ValueModel, decode: Decode, token_budget: int, metrics: dict[str, float]
    ) -> None:
        self.model, self.decode, self.token_budget, self.metrics = model, decode, token_budget, metrics

    def steps(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[tuple[StepReward, ...]]:
        """(index among the completion's tokens, P(right)) of each step, the answer last."""
        places = [[place for place, _ in marks(r, right=False, decode=self.decode)] for r in rollouts]
        found = probabilities(self.model, prompts, rollouts, places, token_budget=self.token_budget)
        return [tuple(zip(at, of, strict=True)) for at, of in zip(places, found, strict=True)]

    def score(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
        """The least P(right) over an output's steps (arXiv:2312.08935 §3.4), in (0, 1)."""
        return [min(p for _, p in of) for of in self.steps(prompts, rollouts)]


def process_reward_model(run: Run) -> ProcessRewardModel:
    """The run's process reward model: the one in its folder, or one trained now and put there."""
    slot = run.config.objective.process_reward_model
    assert slot is not None
    model = classifier_on(run.start, seed=derive(run.seeds["init"], NAME), device=run.device)

    def made() -> dict[str, float]:
        assert run.counters.step == 0
        source = source_of(run)
        with run.timed(NAME):
            problems, prompts, rollouts, right = graded(source, num_problems=slot.num_problems, name=NAME)
            steps, sampled = labelled(source, slot, problems, prompts, rollouts, right)
            run.count(NAME, prompts, rollouts, passes_without_head=3.0 * slot.epochs)
            each = flops_per_token(run.models.policy.dims, source.params.max_new_tokens) / 3  # a forward pass
            run.counters.add(NAME, sampled, sampled * each)
            return fit(source, slot, model, prompts, rollouts, steps)

    metrics = in_run(run, NAME, model, made)
    return ProcessRewardModel(model, run.decode, run.config.trainer.microbatch_tokens, metrics)


def marks(rollout: Rollout, *, right: bool, decode: Decode) -> list[StepReward]:
    """(last token, label) of each step, in order: 1 for a right statement, else 0; the answer's is `right`.

    Steps that end at one token are one, right if all of them are.
    """
    found: dict[int, float] = {}
    last = (len(rollout.completion_ids) - 1, float(right))
    for place, label in (*step_rewards(rollout, decode=decode, weight=1.0), last):
        found[place] = min(label, found.get(place, 1.0))
    return sorted(found.items())


def labelled(
    source: Source,
    slot: ProcessRewardModelConfig,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    rollouts: Sequence[Rollout],
    right: Sequence[bool],
) -> tuple[list[list[StepReward]], int]:
    """The steps of each output with their labels, and how many tokens were sampled for them.

    checked      a statement's own truth
    monte_carlo  of `completions` from its end, the share that ends right (estimate: soft), or whether one
                 does (hard); arXiv:2312.08935 eq. 3, 4
    """
    steps = [marks(r, right=label, decode=source.decode) for r, label in zip(rollouts, right, strict=True)]
    if slot.labels == "checked":
        return steps, 0
    before = [(row, i) for row, of in enumerate(steps) for i in range(len(of) - 1)]  # all but the answers
    prefixes = [rollouts[row].completion_ids[: steps[row][i][0] + 1] for row, i in before]
    rows = [row for row, _ in before]
    shares, sampled = continued(
        source,
        [problems[row] for row in rows],
        [prompts[row] for row in rows],
        prefixes,
        num=slot.completions,
        name=NAME,
    )
    for (row, i), share in zip(before, shares, strict=True):
        steps[row][i] = (steps[row][i][0], share if slot.estimate == "soft" else float(share > 0))
    for row, of in enumerate(steps):
        of[-1] = (of[-1][0], float(right[row]))
    return steps, sampled


def fit(
    source: Source,
    slot: ProcessRewardModelConfig,
    model: ValueModel,
    prompts: Sequence[Prompt],
    rollouts: Sequence[Rollout],
    steps: Sequence[Sequence[StepReward]],
) -> dict[str, float]:
    """Fit by binary cross entropy at each step's last token; returns metrics of held-out problems.

    `prm_*` score their statements, `prm_answer_*` their outputs' last tokens.
    """
    rows, test = held_out(prompts)
    places, labels = [[at for at, _ in of] for of in steps], [[x for _, x in of] for of in steps]
    train(
        model,
        prompts,
        rollouts,
        places,
        labels,
        rows=rows,
        slot=slot,
        seed=derive(source.order_seed, NAME),
        token_budget=source.token_budget,
    )
    asked = [prompts[i] for i in test]
    found = probabilities(
        model, asked, [rollouts[i] for i in test], [places[i] for i in test], token_budget=source.token_budget
    )
    known = [labels[i] for i in test]
    statements = judge(_flat([of[:-1] for of in found]), _flat([of[:-1] for of in known]), prefix="prm")
    answers = judge(
        torch.tensor([of[-1] for of in found]),
        torch.tensor([of[-1] for of in known]),
        prefix="prm_answer",
        problems=[prompt.problem_id for prompt in asked],
    )
    return statements | answers


def _flat(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor([x for row in rows for x in row])
