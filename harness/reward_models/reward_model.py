"""A learned outcome reward: P(right | problem, output), from a classifier of graded rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.model.files.hub import load_pretrained
from harness.reward_models.classifier import held_out, judge, probabilities, train, trained_once
from harness.reward_models.graded import Source, graded
from harness.schema.reward_config import RewardModelConfig
from harness.seeds import derive
from harness.training.critic import ValueModel, init_value
from harness.training.distributed import broadcast_from_rank0, rank
from harness.types import Prompt, Rollout, SamplingParams

if TYPE_CHECKING:
    from harness.training.run_state import Run

NAME = "reward_model"


class RewardModel:
    """A `ValueModel` read at an output's last token; the logit of its being right (arXiv:2110.14168)."""

    def __init__(self, model: ValueModel, token_budget: int, metrics: dict[str, float]) -> None:
        self.model, self.token_budget, self.metrics = model, token_budget, metrics

    def score(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
        """P(right) of each output, in (0, 1)."""
        found = probabilities(self.model, prompts, rollouts, _last(rollouts), token_budget=self.token_budget)
        return [p for (p,) in found]


def reward_model(run: Run) -> RewardModel:
    """The run's reward model: the one in its folder, or one trained now and put there."""
    slot = run.config.objective.reward_model
    assert slot is not None
    model = classifier_on(run.start, seed=derive(run.seeds["init"], NAME), device=run.device)

    def made() -> dict[str, float]:
        assert run.counters.step == 0
        source = source_of(run)
        with run.timed(NAME):
            _, prompts, rollouts, labels = graded(source, num_problems=slot.num_problems, name=NAME)
            run.count(NAME, prompts, rollouts, passes_without_head=3.0 * slot.epochs)
            return fit(source, slot, model, prompts, rollouts, labels)

    metrics = in_run(run, NAME, model, made)
    return RewardModel(model, run.config.trainer.microbatch_tokens, metrics)


def fit(
    source: Source,
    slot: RewardModelConfig,
    model: ValueModel,
    prompts: Sequence[Prompt],
    rollouts: Sequence[Rollout],
    labels: Sequence[bool],
) -> dict[str, float]:
    """Fit by binary cross entropy over shuffled epochs; returns metrics of held-out problems (`rm_*`)."""
    rows, test = held_out(prompts)
    train(
        model,
        prompts,
        rollouts,
        _last(rollouts),
        [[float(x)] for x in labels],
        rows=rows,
        slot=slot,
        seed=derive(source.order_seed, NAME),
        token_budget=source.token_budget,
    )
    scorer = RewardModel(model, source.token_budget, {})
    found = scorer.score([prompts[i] for i in test], [rollouts[i] for i in test])
    known = torch.tensor([float(labels[i]) for i in test])
    return judge(torch.tensor(found), known, problems=[prompts[i].problem_id for i in test])


def classifier_on(weights: Path, *, seed: int, device: torch.device | str) -> ValueModel:
    """A model's weights with a fresh head."""
    trunk = load_pretrained(weights, dtype=torch.float32, device=device)
    return init_value(trunk.dims.hidden_size, trunk=trunk, seed=seed).to(device)


def source_of(run: Run) -> Source:
    """What a run's reward models are trained on: its own problems and way of sampling, at step 0."""
    config = run.config
    params = SamplingParams(
        max_new_tokens=config.rollout.max_new_tokens, temperature=config.rollout.temperature, logprobs=True
    )
    return Source(
        engine=run.engine,
        decode=run.decode,
        problems=run.problems,
        prompts=run.prompts,
        template=config.data.template,
        size=config.rollout.group_size,
        params=params,
        rules=tuple(config.data.answer_rules),
        symbolic=config.data.symbolic,
        order_seed=run.seeds["data_order"],
        rollout_seed=run.seeds["rollout"],
        token_budget=config.trainer.microbatch_tokens,
    )


def in_run(run: Run, name: str, model: ValueModel, made: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The metrics of the model in the run's folder `name`, which `made` trains once; its cost counts once.

    Several processes train it alike, since they sample together; process 0 puts it there.
    """

    def fitted() -> dict[str, Any]:
        metrics = made()
        return {"metrics": metrics, "cost": run.counters.costs()}

    def leading() -> dict[str, Any]:
        broadcast_from_rank0(True)
        return fitted()

    if rank() > 0:
        while broadcast_from_rank0(False):
            fitted()
    found = trained_once(run.folder / name, model, leading, owner=run.folder.name)
    if rank() == 0:
        broadcast_from_rank0(False)
    if run.counters.step == 0:  # killed since it was trained, or not: what it cost is counted once
        run.counters.load_state_dict(found["cost"])
    metrics: dict[str, float] = found["metrics"]
    return metrics


def _last(rollouts: Sequence[Rollout]) -> list[list[int]]:
    return [[len(r.completion_ids) - 1] for r in rollouts]
