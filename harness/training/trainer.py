"""The training loop, the same for every objective: sample, score, learn, log, save, evaluate.

A run's state is its weights, its optimiser and a step count; every random number is a function of a named
stream and the step, so a resumed run repeats what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.model.dims import forward_flops
from harness.records.progress import Reporter
from harness.records.records import MetricsWriter, write_samples
from harness.seeds import derive
from harness.training.batching import work
from harness.training.distributed import hub_weights, rank
from harness.training.experience import problems_at, refill, rollout_metrics, sample, score, trainable
from harness.training.memory import with_microbatch
from harness.training.offline import Offline
from harness.training.run_state import Run
from harness.training.saving import publish, save
from harness.training.step_costs import Lap
from harness.training.sync import max_kl, sync
from harness.training.update import active_rows, adapted_coef, build_batch, update
from harness.types import ScoredGroup

MAX_SKIPPED_IN_A_ROW = 5


class TrainingError(RuntimeError):
    """A run that cannot go on; the message is its recorded reason."""


def train(
    run: Run,
    *,
    report: Reporter,
    log: Callable[[dict[str, Any]], None],
    evaluate: Callable[[Run], None],
) -> None:
    """From the current step to the last. Raises TrainingError when the run cannot go on.

    Of several processes the first writes.
    """
    config = run.config
    writer, writes = MetricsWriter(run.folder / "metrics.jsonl"), rank() == 0
    if writes:
        writer.truncate(run.step)
    offline = Offline(run, report) if config.objective.offline else None
    total = offline.num_steps if offline else config.trainer.steps
    run.progress = lambda note: report("training", run.step, total, note)
    while run.step < total:
        lap = Lap(run)
        groups, metrics = offline.batch(run.step) if offline else experience(run)
        if config.rollout.release:
            with run.timed("sync"):
                run.engine.release()
        run.progress("updating")
        with run.timed("train"):
            metrics |= learn(run, groups, total=total)
        run.step += 1
        metrics |= hand_over(run)
        refresh_reference(run)
        asked, last = run.step in config.eval.at_steps, run.step == total
        due = last or run.step % config.trainer.checkpoint_every == 0
        if due:
            with run.timed("kept"):
                metrics |= run.kept.measure(run.sampler)
        metrics = {"step": run.step, **metrics, **lap.metrics()}
        if writes:
            writer.append(metrics)
            log(metrics)
            keep_rollouts(run, groups)
        report("training", run.step, total, f"accuracy {metrics['accuracy']:.3f}")
        with run.timed("save"):
            if writes and (last or asked):
                publish(run)
            if due or asked:
                save(run)
        if writes and asked and not last:
            with run.timed("evaluate"):
                evaluate(run)


def experience(run: Run) -> tuple[list[ScoredGroup], dict[str, Any]]:
    """Fresh samples of the current policy, scored: those to train on, and what all of them look like."""
    groups: list[ScoredGroup] = []
    problems = problems_at(run, run.step)
    while problems:
        with run.timed("sample"):
            rollouts = sample(run, problems, run.step, first_place=len(groups))
        with run.timed("grade"):
            groups += score(run, problems, rollouts)
        problems = refill(run, groups)
    chosen = trainable(groups, run.config.objective)[: run.config.rollout.prompts_per_step]
    metrics: dict[str, Any] = rollout_metrics(groups, learned_steps=run.step_model is not None)
    for model in (run.reward_model, run.step_model):
        metrics |= model.metrics if model is not None else {}
    if len(chosen) != len(groups):
        metrics |= {"sampled_groups": float(len(groups)), "kept_groups": float(len(chosen))}
    return chosen, metrics


def learn(run: Run, groups: Sequence[ScoredGroup], *, total: int) -> dict[str, float]:
    """The optimiser steps on one batch of scored groups; TrainingError after repeated non-finite ones."""
    objective = run.config.objective
    num_updates = objective.updates.epochs * objective.updates.minibatches
    if not groups:  # everything was dropped: the step has no gradient
        run.num_updates += num_updates
        return {"loss": 0.0, "grad_norm": 0.0, "updates": 0.0, "skipped_updates": 0.0}
    batch = build_batch(groups, objective)
    order = torch.Generator().manual_seed(derive(run.seeds["data_order"], "minibatches", run.step))
    metrics = update(
        run.policy,
        run.reference,
        run.optimizer,
        batch,
        config=with_microbatch(run.config, run.microbatch_tokens),
        order=order,
        num_updates_done=run.num_updates,
        num_updates_total=total * num_updates,
        value=run.value,
        kl_coef=run.kl_coef,
        phase=run.timed,
    )
    run.num_updates += num_updates
    used = int(metrics.pop("microbatch_tokens"))
    if used != run.microbatch_tokens:
        metrics["microbatch_tokens"], run.microbatch_tokens = float(used), used
    run.skipped_in_a_row = run.skipped_in_a_row + 1 if metrics["skipped_updates"] else 0
    if run.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise TrainingError(
            f"{MAX_SKIPPED_IN_A_ROW} steps in a row had a gradient that is not finite; lower trainer.lr"
        )
    if objective.kl.target is not None:
        metrics["kl_coef"] = run.kl_coef
        config = with_microbatch(run.config, run.microbatch_tokens)
        run.kl_coef = adapted_coef(run.policy, batch, config=config, kl_coef=run.kl_coef)
        if objective.kl.against == "old":
            done = work(batch, active_rows(batch, objective))
            metrics["scored_flops"] += forward_flops(run.policy.dims, **done)
    for use in ("trained", "scored"):
        tokens, flops = int(metrics.pop(f"{use}_tokens")), metrics.pop(f"{use}_flops")
        if tokens:
            run.add(use, tokens, flops)
    return metrics


def hand_over(run: Run) -> dict[str, float]:
    """The updated weights to the engine; TrainingError when it does not sample from them."""
    (kl, stale), limit = sync(run), max_kl(run.config)
    if stale:
        raise TrainingError(
            f"after step {run.step} the engine answers as it did before, to the bit, where the trainer has "
            "moved: updates do not reach the engine"
        )
    if not kl <= limit:
        raise TrainingError(
            f"sampler_trainer_kl is {kl:.3g} after step {run.step}, above {limit:g}: the engine does not "
            "sample from the trainer's weights; look for an update that did not reach it, or a coarser dtype "
            "(rollout.max_sampler_kl sets the limit)"
        )
    return {"sampler_trainer_kl": kl}


def refresh_reference(run: Run) -> None:
    """Every `kl.refresh_every` steps the reference becomes the current policy."""
    every = run.config.objective.kl.refresh_every
    if every is not None and run.step % every == 0:
        assert run.reference is not None
        run.reference.load_state_dict(dict(hub_weights(run.policy)))


def keep_rollouts(run: Run, groups: Sequence[ScoredGroup]) -> None:
    """The first `rollout.keep` completions of the step, with grades and rewards, for a reader."""
    rows = [
        {
            "problem_id": g.problem.id,
            "sample_idx": r.sample_idx,
            "text": r.text,
            "reward": reward,
            "correct": x.correct,
            "extracted": x.extracted,
            "finish_reason": r.finish_reason,
        }
        for g in groups
        for r, x, reward in zip(g.rollouts, g.grades, g.rewards, strict=True)
    ][: run.config.rollout.keep]
    if rows:
        write_samples(run.folder / "rollouts" / f"step_{run.step:06d}.jsonl.gz", rows)
