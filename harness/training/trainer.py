"""The training loop, the same for every objective: sample, grade, select, batch, update, sync, log, evaluate.

A run's state is its weights, its optimiser and its counters; every random number is a function of a named
stream and the step, so a resumed run repeats what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.model.dims import forward_flops
from harness.records.lines import MetricsWriter, write_samples
from harness.records.progress import Reporter
from harness.seeds import derive
from harness.training.advantages import build_batch
from harness.training.batching import work
from harness.training.counters import Counters
from harness.training.derivation_metrics import derivation_metrics, reads_derivations
from harness.training.distributed import all_gather_list, broadcast_from_rank0, rank
from harness.training.experience import problems_at, refill, sample, score, select
from harness.training.memory import with_microbatch
from harness.training.offline import Offline
from harness.training.parallel import copy_weights
from harness.training.replicas import checksum
from harness.training.rollout_metrics import rollout_metrics
from harness.training.run_state import Run
from harness.training.saving import publish, save
from harness.training.searching import search_metrics
from harness.training.sync import max_kl, sync
from harness.training.update import UpdateResult, adapted_coef, update
from harness.training.waiting import Sampled, fill
from harness.types import ScoredGroup

MAX_SKIPPED_IN_A_ROW = 5
Metrics = dict[str, Any]


class TrainingError(RuntimeError):
    """A run that cannot go on; the message is its recorded reason."""


def train(
    run: Run,
    *,
    report: Reporter,
    log: Callable[[Metrics], None],
    evaluate: Callable[[Run], None],
    preempted: Callable[[], bool] = lambda: False,
) -> None:
    """Train from the current step to the last. Raises TrainingError when the run cannot go on.

    Every process trains and evaluates; process 0 alone logs and publishes. Once `preempted` says so, the step
    under way is saved and KeyboardInterrupt raised.
    """
    counters, writer = run.counters, MetricsWriter(run.folder / "metrics.jsonl")
    if rank() == 0:
        writer.truncate(counters.step)
    offline = Offline(run, report) if run.config.objective.offline else None
    total = offline.num_steps if offline else run.config.trainer.steps
    run.current.progress = lambda note: report("training", counters.step, total, note)
    while counters.step < total:
        run.begin_step()
        groups, metrics = offline.batch(counters.step) if offline else next_batch(run, total=total)
        release_engine(run)
        metrics |= update_policy(run, groups, total=total)
        counters.step += 1
        metrics |= sync_engine(run)
        refresh_reference(run)
        metrics |= measure_retention(run, total=total)
        metrics = {"step": counters.step, **metrics, **run.current.costs.metrics(counters, run.device)}
        if rank() == 0:
            writer.append(metrics)
            log(metrics)
            write_rollouts(run, groups)
        report("training", counters.step, total, f"accuracy {metrics['accuracy']:.3f}")
        stop = broadcast_from_rank0(preempted())
        save_weights(run, total=total, asked=stop)
        if stop:
            raise KeyboardInterrupt(f"stopped by a signal after step {counters.step}, which is saved")
        if counters.step in run.config.eval.at_steps and counters.step < total:
            with run.timed("evaluate"):
                evaluate(run)


def next_batch(run: Run, *, total: int) -> tuple[list[ScoredGroup], Metrics]:
    """The groups of the current step and their metrics, sampled now or, with `rollout.lag`, steps ago."""
    step, lag = run.counters.step, run.config.rollout.lag
    if not lag:
        return sample_and_grade(run, step)
    fill(
        run.waiting,
        step=step,
        lag=lag,
        total=total,
        sample=lambda ahead: Sampled(*sample_and_grade(run, ahead), at=step),
    )
    batch = run.waiting.pop(0)
    return batch.groups, batch.metrics | {"lag": float(step - batch.at)}


def sample_and_grade(run: Run, step: int | None = None) -> tuple[list[ScoredGroup], Metrics]:
    """Sample, grade and select one step's groups: (those to train on, metrics of all that were sampled).

    `step` None is the current one; that of a later step is sampled by the current policy, too.
    """
    step = run.counters.step if step is None else step
    groups: list[ScoredGroup] = []
    problems = problems_at(run, step)
    while problems:
        with run.timed("sample"):
            rollouts = sample(run, problems, step, first_place=len(groups))
        with run.timed("grade"):
            groups += score(run, problems, rollouts)
        problems = refill(run, groups, step)
    selected = select(groups, run.config.objective)[: run.config.rollout.prompts_per_step]
    metrics: Metrics = rollout_metrics(groups, learned_steps=run.learned_rewards.steps is not None)
    metrics |= search_metrics(run)
    if reads_derivations(run.config):
        metrics |= derivation_metrics(groups)
    for model in run.learned_rewards.scorers:
        metrics |= model.metrics
    if len(selected) != len(groups):
        metrics |= {"sampled_groups": float(len(groups)), "kept_groups": float(len(selected))}
    return selected, metrics


def release_engine(run: Run) -> None:
    """Give back the memory that sampling needs, where `rollout.release` asks for it."""
    if run.config.rollout.release:
        with run.timed("sync"):
            run.engine.release()


def update_policy(run: Run, groups: Sequence[ScoredGroup], *, total: int) -> dict[str, float]:
    """Take the optimiser steps on one batch of groups; their metrics. `total` is the run's number of steps.

    Raises TrainingError after MAX_SKIPPED_IN_A_ROW batches with a gradient that was not finite.
    """
    counters, objective = run.counters, run.config.objective
    num_updates = objective.updates.epochs * objective.updates.minibatches
    run.current.progress("updating")
    with run.timed("train"):
        if not groups:  # everything was dropped: the step has no gradient
            counters.num_updates += num_updates
            return {"loss": 0.0, "grad_norm": 0.0, "updates": 0.0, "skipped_updates": 0.0}
        result = update(
            run.models,
            run.optimizer,
            build_batch(groups, objective),
            config=with_microbatch(run.config, counters.microbatch_tokens),
            order=torch.Generator().manual_seed(
                derive(run.seeds["data_order"], "minibatches", counters.step)
            ),
            num_updates_done=counters.num_updates,
            num_updates_total=total * num_updates,
            kl_coef=counters.kl_coef,
            phase=run.timed,
        )
        counters.num_updates += num_updates
        metrics = dict(result.metrics)
        if result.microbatch_tokens != counters.microbatch_tokens:
            counters.microbatch_tokens = result.microbatch_tokens
            metrics["microbatch_tokens"] = float(result.microbatch_tokens)
        count_skipped(counters, metrics["skipped_updates"])
        scored_flops = result.scored_flops
        if objective.kl.target is not None:
            metrics["kl_coef"] = counters.kl_coef
            scored_flops += adapt_kl_coef(run, result)
    if result.trained_tokens:
        counters.add("trained", result.trained_tokens, result.trained_flops)
    if result.scored_tokens:
        counters.add("scored", result.scored_tokens, scored_flops)
    return metrics


def count_skipped(counters: Counters, skipped_updates: float) -> None:
    """Count batches in a row with a skipped update; TrainingError at MAX_SKIPPED_IN_A_ROW."""
    counters.skipped_in_a_row = counters.skipped_in_a_row + 1 if skipped_updates else 0
    if counters.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise TrainingError(
            f"{MAX_SKIPPED_IN_A_ROW} steps in a row had a gradient that is not finite; lower trainer.lr"
        )


def adapt_kl_coef(run: Run, result: UpdateResult) -> float:
    """Set the KL coefficient of the next batch by this one's KL; the FLOPs of measuring it."""
    counters, objective, policy = run.counters, run.config.objective, run.models.policy
    config = with_microbatch(run.config, counters.microbatch_tokens)
    counters.kl_coef = adapted_coef(policy, result.batch, config=config, kl_coef=counters.kl_coef)
    if objective.kl.against != "old":
        return 0.0
    return forward_flops(policy.dims, **work(result.batch, torch.arange(len(result.batch.lengths))))


def sync_engine(run: Run) -> dict[str, float]:
    """Give the engine the updated weights; TrainingError when it does not sample from them."""
    (kl, stale), limit, step = sync(run), max_kl(run.config), run.counters.step
    if stale:
        raise TrainingError(
            f"after step {step} the engine answers as it did before, to the bit, where the trainer has "
            "moved: updates do not reach the engine"
        )
    if not kl <= limit:
        raise TrainingError(
            f"sampler_trainer_kl is {kl:.3g} after step {step}, above {limit:g}: the engine does not "
            "sample from the trainer's weights; look for an update that did not reach it, or a coarser dtype "
            "(rollout.max_sampler_kl sets the limit)"
        )
    return {"sampler_trainer_kl": kl}


def refresh_reference(run: Run) -> None:
    """Make the current policy the reference, every `kl.refresh_every` steps."""
    every = run.config.objective.kl.refresh_every
    if every is not None and run.counters.step % every == 0:
        assert run.models.reference is not None
        copy_weights(run.models.policy, run.models.reference)


def measure_retention(run: Run, *, total: int) -> dict[str, float]:
    """How much of the base the policy has kept (`training.retention`), at the steps that are checkpoints."""
    if not is_checkpoint(run, total):
        return {}
    with run.timed("kept"):
        return run.retention.measure(run.sampler)


def is_checkpoint(run: Run, total: int) -> bool:
    """True every `trainer.checkpoint_every` steps and at the last."""
    step = run.counters.step
    return step == total or step % run.config.trainer.checkpoint_every == 0


def save_weights(run: Run, *, total: int, asked: bool) -> None:
    """Save the resume state and publish the weights, at the steps that ask for one or the other.

    With `asked` the resume state is saved at any step.
    """
    evaluated = run.counters.step in run.config.eval.at_steps
    with run.timed("save"):
        if is_checkpoint(run, total):
            check_replicas(run)
        if rank() == 0 and (evaluated or run.counters.step == total):
            publish(run)
        if asked or evaluated or is_checkpoint(run, total):
            save(run)


def check_replicas(run: Run) -> None:
    """Raise TrainingError unless the weights of replicas are the same, to the bit."""
    if run.placement.processes == 1 or run.placement.sharded:
        return
    found = all_gather_list([checksum(list(run.models.policy.parameters()))])
    if len(set(found)) > 1:
        raise TrainingError(
            f"the weights of processes differ after step {run.counters.step}: their sums are {found}; launch "
            "again to go on from the last checkpoint"
        )


def write_rollouts(run: Run, groups: Sequence[ScoredGroup]) -> None:
    """Write the first `rollout.keep` completions of the step, with grades and rewards, for a reader."""
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
        write_samples(run.folder / "rollouts" / f"step_{run.counters.step:06d}.jsonl.gz", rows)
