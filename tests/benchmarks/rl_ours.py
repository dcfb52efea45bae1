"""Our side of a GRPO step, the loop of `training.trainer`, timed from log to log: see `rl_sides`."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.profiling import profiled, table
from tests.benchmarks.rl_sides import GpuMemory, Work


class Enough(Exception):
    """As many steps are measured as were wanted."""


def settings(
    folder: Path,
    data: Path,
    out: Path,
    work: Work,
    *,
    steps: int,
    microbatch_tokens: int,
    more: Sequence[str],
) -> list[str]:
    """Settings of our side, as overrides, and `more` of them."""
    return [
        *more,
        "model=folder",
        f"model.path={folder}",
        "data=jsonl",
        f"data.path={data}",
        "data.answer_range=null",
        "objective=dapo",
        "objective.selection={fn: all, by: reward, max_sampled: null}",
        "objective.reward={accuracy: 0.0, soft_overlong: 0.0, random: 1.0, overlong_buffer: null}",
        "objective.updates={epochs: 1, minibatches: 1}",
        f"rollout.prompts_per_step={work.prompts}",
        f"rollout.group_size={work.samples}",
        f"rollout.max_new_tokens={work.tokens}",
        f"rollout.max_batch_size={work.rows}",
        f"trainer.microbatch_tokens={microbatch_tokens}",
        f"trainer.steps={steps}",
        "trainer.lr=1e-6",
        "trainer.checkpoint_every=1000",
        "eval.splits=[]",
        "tracking.mode=disabled",
        "dtype=bfloat16",
        f"output_dir={out}",
    ]


def profile_step(number: int, found: dict[str, Any]) -> None:
    """Profile the training of the step that follows `number` others into `found`."""
    from harness.training import trainer

    update_policy = trainer.update_policy

    def watched(run: Any, *args: Any, **keywords: Any) -> Any:
        if run.counters.step != number:
            return update_policy(run, *args, **keywords)
        metrics: list[Any] = []
        found["profile"] = profiled(lambda: metrics.append(update_policy(run, *args, **keywords)))
        print(table(found["profile"]), file=sys.stderr, flush=True)
        return metrics[0]

    trainer.update_policy = watched


def give_lengths(run: Any, work: Work) -> None:
    """Make the run's engine sample completions of the work's lengths, whatever their tokens."""
    generate, run.engine._eos = run.engine.generate, frozenset()

    def limited(prompts: Sequence[Any], **keywords: Any) -> Any:
        if len(prompts) == work.rows and work.mean is not None:
            keywords["limits"] = work.lengths(run.counters.step)
        return generate(prompts, **keywords)

    run.engine.generate = limited


def ours(
    folder: Path,
    data: Path,
    out: Path,
    work: Work,
    *,
    steps: int,
    microbatch_tokens: int,
    profile: bool = False,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Our steps after the first, which compiles; with `profile` one more, whose training is profiled.

    `more` are settings beside those that all sizes share.
    """
    from harness.launch.expand import expand
    from harness.training import trainer
    from harness.training.setup import setup

    sizes: dict[str, Any] = {"steps": steps + 1 + profile, "microbatch_tokens": microbatch_tokens}
    overrides = settings(folder, data, out, work, **sizes, more=more)
    (job,) = expand(overrides, multirun=False).jobs
    base = out / "base"
    base.mkdir(parents=True)
    (base / "model").symlink_to(folder)
    memory = GpuMemory()
    run = setup(job.config, base=base, folder=out / "run", device="cuda")
    give_lengths(run, work)
    times, rows, found = [time.perf_counter()], list[dict[str, Any]](), dict[str, Any]()
    if profile:
        profile_step(steps + 1, found)

    def log(metrics: dict[str, Any]) -> None:
        torch.cuda.synchronize()
        times.append(time.perf_counter())
        rows.append(metrics)
        seconds = [b - a for a, b in itertools.pairwise(times)]
        found.update(first_s=seconds[0], step_s=seconds[1 : steps + 1], phases=_phases(rows[1 : steps + 1]))
        found.update(microbatch_tokens=microbatch_tokens, more=list(more))
        peaks = (v for row in rows for k, v in row.items() if k.startswith("peak_memory"))
        found["peak_gb"], found["device_gb"] = max(peaks, default=0.0) / 1e9, memory.peak_gb
        print(json.dumps(found), flush=True)
        print(f"ours: step {len(rows)}, {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
        if len(rows) == steps + 1 + profile:
            raise Enough

    with suppress(Enough):
        trainer.train(run, report=lambda *_: None, log=log, evaluate=lambda _: None)
    return found


def _phases(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians over the steps of each phase's seconds and a few metrics."""
    names = [
        name
        for name in (rows[0] if rows else ())
        if name.startswith(("seconds_", "sampler_gap")) or name in ("mfu", "sampled_tokens")
    ]
    return {name: statistics.median(row[name] for row in rows if name in row) for name in names}
