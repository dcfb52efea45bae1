"""A decoder with a head, as a classifier of tokens: how it is trained, read, judged and kept on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.stats.metrics import pair_auc
from harness.model.attention import pads
from harness.model.fused import pack
from harness.model.rows import Prompts, pack_rows
from harness.records.published import COST, Damaged, publish, reading, require, warn
from harness.schema.reward_config import RewardModelConfig
from harness.training.batching import make_batch, microbatches, take
from harness.training.critic import ValueModel
from harness.training.optim import adamw, guarded_step
from harness.types import Batch, Grade, Problem, Prompt, Rollout, ScoredGroup

HELD_OUT = 5  # one problem of so many is left out of training, for AUC and calibration
BINS = 10
TokenIndices = Sequence[Sequence[int]]  # for each row, of its completion's tokens, strictly increasing
Labels = Sequence[Sequence[float]]  # of the same tokens, P(right) in [0, 1]


def train(
    model: ValueModel,
    prompts: Sequence[Prompt],
    rollouts: Sequence[Rollout],
    places: TokenIndices,
    labels: Labels,
    *,
    rows: Sequence[int],
    slot: RewardModelConfig,
    seed: int,
    token_budget: int,
) -> None:
    """Binary cross entropy, a mean over the labelled tokens of a batch, over shuffled epochs of `rows`."""
    batch = _batch(prompts, rollouts)
    optimizer = adamw(model, lr=slot.lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(slot.epochs):
        order = torch.tensor(rows)[torch.randperm(len(rows), generator=generator)]
        for chosen in order.split(slot.batch_size):
            total = sum(len(labels[i]) for i in chosen.tolist())
            for part in microbatches(batch, token_budget=token_budget, rows=chosen):
                logits = _logits(model, batch, part, prompts, places)
                targets = torch.tensor([x for i in part.tolist() for x in labels[i]], device=logits.device)
                loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
                (loss / total).backward()
            guarded_step(optimizer, list(model.parameters()), lr=slot.lr, max_grad_norm=1.0)


@torch.no_grad()
def probabilities(
    model: ValueModel,
    prompts: Sequence[Prompt],
    rollouts: Sequence[Rollout],
    places: TokenIndices,
    *,
    token_budget: int,
) -> list[list[float]]:
    """P(right) in (0, 1) at the `places` of each rollout."""
    batch = _batch(prompts, rollouts)
    found: list[list[float]] = [[] for _ in rollouts]
    for part in microbatches(batch, token_budget=token_budget):
        values = iter(_logits(model, batch, part, prompts, places).sigmoid().tolist())
        for i in part.tolist():
            found[i] = [next(values) for _ in places[i]]
    return found


def held_out(prompts: Sequence[Prompt]) -> tuple[list[int], list[int]]:
    """(rows to train on, rows of every fifth problem)."""
    problems = list(dict.fromkeys(p.problem_id for p in prompts))
    held = set(problems[::HELD_OUT])
    train = [i for i, p in enumerate(prompts) if p.problem_id not in held]
    return train, [i for i, p in enumerate(prompts) if p.problem_id in held]


def judge(
    probabilities: Tensor, labels: Tensor, *, prefix: str = "rm", problems: Sequence[str] | None = None
) -> dict[str, float]:
    """AUC, expected calibration error, Brier score and the share right, of predictions [N] and labels [N].

    *_auc        share of (right, wrong) pairs in which the right one scores higher, ties half; else 0.5
    *_auc_within the same over pairs of one problem, where `problems` [N] are given; left out without pairs
    *_ece        mean over 10 equal-width bins, by their size, of |mean prediction - share right|
    *_brier      mean of (prediction - label)²

    A label that is a share counts as right for the AUC where it is above 0. Nothing but `*_held_out` = 0
    without predictions.
    """
    if not len(labels):
        return {f"{prefix}_held_out": 0.0}
    right, scores = (labels > 0).tolist(), probabilities.tolist()
    auc, within = pair_auc([right], [scores]), None
    if problems is not None:
        rows: dict[str, list[int]] = {}
        for i, problem in enumerate(problems):
            rows.setdefault(problem, []).append(i)
        of = list(rows.values())
        within = pair_auc([[right[i] for i in row] for row in of], [[scores[i] for i in row] for row in of])
    bins = (probabilities * BINS).long().clamp(max=BINS - 1)
    gaps = [float((probabilities[bins == b] - labels[bins == b]).sum().abs()) for b in bins.unique().tolist()]
    return {
        f"{prefix}_auc": 0.5 if auc is None else auc,
        **({} if within is None else {f"{prefix}_auc_within": within}),
        f"{prefix}_ece": sum(gaps) / len(labels),
        f"{prefix}_brier": float((probabilities - labels).square().mean()),
        f"{prefix}_right": float(labels.mean()),
        f"{prefix}_held_out": float(len(labels)),
    }


def trained_once(
    folder: Path, model: ValueModel, fit: Callable[[], dict[str, Any]], *, owner: str
) -> dict[str, Any]:
    """Fill `model` from the folder, after `fit` has trained it and it was put there if it was absent.

    One whose content is not what was written, or another `owner`'s, is trained anew, with a warning.
    Returns what `fit` returned, now or then. Its "cost", which a clock decides, has a file of its own: the
    others are the same bytes whenever they are made. Raises Damaged.
    """
    identity = {"owner": owner}
    try:
        require(folder, identity)
    except Damaged as error:
        if os.path.lexists(folder):
            warn(f"{error.what}; it is trained anew")
        made = fit()
        files = {name: made.pop("cost") for name in (COST,) if "cost" in made} | {"made.json": made}

        def write(target: Path) -> None:
            with (target / "model.pt").open("wb") as file:
                torch.save(model.state_dict(), file)
            for name, content in files.items():
                (target / name).write_text(json.dumps(content))

        publish(folder, write, identity=identity, again=True)
    with reading(folder / "model.pt"):
        model.load_state_dict(torch.load(folder / "model.pt", weights_only=True, map_location="cpu"))
    with reading(folder / "made.json"):
        found: dict[str, Any] = json.loads((folder / "made.json").read_text())
        assert found.keys() >= {"metrics"}
    if (cost := folder / COST).exists():  # older folders have it in made.json
        with reading(cost):
            found["cost"] = dict(json.loads(cost.read_text()))
    return found


def _batch(prompts: Sequence[Prompt], rollouts: Sequence[Rollout]) -> Batch:
    nothing = Problem(id="", dataset="", split="", text="", answer="")
    groups = [
        ScoredGroup(nothing, prompt, (rollout,), (Grade(False, None, ""),), (0.0,))
        for prompt, rollout in zip(prompts, rollouts, strict=True)
    ]
    return make_batch(groups, pad_id=0)


def _logits(
    model: ValueModel, batch: Batch, rows: Tensor, prompts: Sequence[Prompt], places: TokenIndices
) -> Tensor:
    """The head's output at the `places` of `rows`, row after row, [M]."""
    trunk = model.trunk
    assert isinstance(trunk, nn.Module)
    piece, weight = take(batch, rows), trunk.head_weight
    prompts_of = Prompts(piece.prompt_ids, piece.prompt_lengths, pads(weight.device, weight.dtype))
    _, taken = prompts_of.sources()
    counts = piece.lengths - taken  # computed tokens of each row, its own alone
    starts = (counts.cumsum(0) - counts - taken).tolist()  # a row's token t is packed at its start + t
    at = [
        start + len(prompts[i].token_ids) + place
        for start, i in zip(starts, rows.tolist(), strict=True)
        for place in places[i]
    ]
    packed = pack_rows(piece.input_ids, piece.lengths, prompts=prompts_of, device=weight.device)
    return model.values(pack(trunk.hidden(packed), torch.tensor(at, device=weight.device)))
