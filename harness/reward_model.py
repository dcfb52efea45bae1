"""A learned outcome reward: P(right | problem, output), from a classifier of graded rollouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import checkpoint
from harness.batching import make_batch, microbatches, move, take
from harness.critic import ValueModel, init_value
from harness.fused import pack
from harness.grading import grade
from harness.hub import load_pretrained
from harness.optim import adamw, guarded_step
from harness.seeds import derive
from harness.types import Batch, Grade, Problem, Prompt, Rollout, SamplingParams, ScoredGroup

if TYPE_CHECKING:
    from harness.state import Run

HELD_OUT = 5  # one problem of so many is left out of training, for AUC and calibration
BINS = 10


class RewardModel:
    """A `ValueModel` read at an output's last token; the logit of its being right (arXiv:2110.14168)."""

    def __init__(self, model: ValueModel, token_budget: int, metrics: dict[str, float]) -> None:
        self.model, self.token_budget, self.metrics = model, token_budget, metrics

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> list[float]:
        """P(right) of each output, in (0, 1)."""
        batch = _batch(prompts, rollouts)
        found = torch.zeros(len(batch.lengths))
        for part in microbatches(batch, token_budget=self.token_budget):
            found[part] = _logits(self.model, take(batch, part)).sigmoid().cpu()
        return [float(x) for x in found]


def reward_model(run: Run, base: Path) -> RewardModel:
    """The run's reward model: the one in its folder, or one trained now and put there."""
    budget, folder = run.config.trainer.microbatch_tokens, run.folder / "reward_model"
    device = run.policy.head_weight.device
    trunk = load_pretrained(base / "model", dtype=torch.float32, device=device)
    seed = derive(run.seeds["init"], "reward_model")
    model = init_value(trunk.dims.hidden_size, trunk=trunk, seed=seed).to(device)
    if not folder.exists():
        prompts, rollouts, labels = _graded(run)
        with run.timed("reward_model"):
            metrics = fit(run, model, prompts, rollouts, labels)
        cost = {name: getattr(run, name) for name in ("seconds", "tokens", "flops")}

        def write(target: Path) -> None:
            torch.save(model.state_dict(), target / "model.pt")
            (target / "made.json").write_text(json.dumps({"metrics": metrics, "cost": cost}))

        checkpoint.publish(folder, write)
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True, map_location="cpu"))
    made = json.loads((folder / "made.json").read_text())
    if run.step == 0:  # killed since it was trained, or not: what it cost is counted once
        for name, value in made["cost"].items():
            setattr(run, name, value)
    return RewardModel(model, budget, made["metrics"])


def fit(
    run: Run,
    model: ValueModel,
    prompts: Sequence[Prompt],
    rollouts: Sequence[Rollout],
    labels: Sequence[bool],
) -> dict[str, float]:
    """Binary cross entropy over shuffled epochs; returns what held-out problems say (`rm_*`)."""
    slot = run.config.objective.reward_model
    assert slot is not None
    problems = list(dict.fromkeys(p.problem_id for p in prompts))
    held = set(problems[::HELD_OUT])
    train = [i for i, p in enumerate(prompts) if p.problem_id not in held]
    test = [i for i, p in enumerate(prompts) if p.problem_id in held]
    batch = _batch(prompts, rollouts)
    targets = torch.tensor([float(x) for x in labels])  # [B]
    optimizer = adamw(model, lr=slot.lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    generator = torch.Generator().manual_seed(derive(run.seeds["data_order"], "reward_model"))
    budget = run.config.trainer.microbatch_tokens
    for _ in range(slot.epochs):
        order = torch.tensor(train)[torch.randperm(len(train), generator=generator)]
        for rows in order.split(slot.batch_size):
            for part in microbatches(batch, token_budget=budget, rows=rows):
                logits = _logits(model, take(batch, part))
                loss = F.binary_cross_entropy_with_logits(
                    logits, targets[part].to(logits.device), reduction="sum"
                )
                (loss / len(rows)).backward()
            guarded_step(optimizer, list(model.parameters()), lr=slot.lr, max_grad_norm=1.0)
    scorer = RewardModel(model, budget, {})
    found = scorer.score([prompts[i] for i in test], [rollouts[i] for i in test])
    return judge(torch.tensor(found), targets[test])


def judge(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """AUC, expected calibration error, Brier score and the share right, of predictions [N] and labels [N].

    rm_auc   share of (right, wrong) pairs in which the right one scores higher, ties half; 0.5 without pairs
    rm_ece   mean over 10 equal-width bins, by their size, of |mean prediction - share right|
    rm_brier mean of (prediction - label)²
    """
    right, wrong = probabilities[labels > 0], probabilities[labels <= 0]
    difference = right[:, None] - wrong[None, :]  # [R, W]
    auc = float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())
    bins = (probabilities * BINS).long().clamp(max=BINS - 1)
    gaps = [float((probabilities[bins == b] - labels[bins == b]).sum().abs()) for b in bins.unique().tolist()]
    return {
        "rm_auc": auc if difference.numel() else 0.5,
        "rm_ece": sum(gaps) / max(1, len(labels)),
        "rm_brier": float((probabilities - labels).square().mean()),
        "rm_right": float(labels.mean()),
        "rm_held_out": float(len(labels)),
    }


def _graded(run: Run) -> tuple[list[Prompt], list[Rollout], list[bool]]:
    """`group_size` outputs of the base for each of the model's problems, and whether they are right."""
    slot, config = run.config.objective.reward_model, run.config
    assert slot is not None and run.step == 0
    generator = torch.Generator().manual_seed(derive(run.seeds["data_order"], "reward_model", "problems"))
    order = torch.randperm(len(run.problems), generator=generator)[: slot.num_problems].tolist()
    problems = [run.problems[i] for i in order]
    size = config.rollout.group_size
    prompts = [run.prompts[p.id] for p in problems for _ in range(size)]
    params = SamplingParams(
        max_new_tokens=config.rollout.max_new_tokens, temperature=config.rollout.temperature, logprobs=True
    )
    seeds = [
        derive(run.seeds["rollout"], "reward_model", i, j) for i in range(len(problems)) for j in range(size)
    ]
    with run.timed("reward_model"):
        rollouts = run.engine.generate(prompts, params=params, seeds=seeds)
    lengths = [len(r.completion_ids) for r in rollouts]
    context = sum(len(p.token_ids) + n for p, n in zip(prompts, lengths, strict=True)) / len(prompts)
    run.count("reward_model", sum(lengths), context=context, passes=1 + 3 * slot.epochs)
    rules = tuple(config.data.answer_rules)
    answers = [p.answer for p in problems for _ in range(size)]
    labels = [
        grade(r.text, a, rules=rules, use_symbolic=config.data.symbolic).correct
        for r, a in zip(rollouts, answers, strict=True)
    ]
    return prompts, rollouts, labels


def _batch(prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> Batch:
    nothing = Problem(id="", dataset="", split="", text="", answer="")
    groups = [
        ScoredGroup(nothing, prompt, (rollout,), (Grade(False, None, ""),), (0.0,))
        for prompt, rollout in zip(prompts, rollouts, strict=True)
    ]
    return make_batch(groups, pad_id=0)


def _logits(model: ValueModel, batch: Batch) -> Tensor:
    """The head's output at each row's last token, [b]."""
    trunk = model.trunk
    assert isinstance(trunk, nn.Module)
    batch = move(batch, trunk.head_weight.device)
    states = trunk.hidden(batch.input_ids, batch.lengths)  # [N, D]
    return model.values(pack(states, batch.lengths.cumsum(0) - 1))
