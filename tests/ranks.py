"""Work in two processes as torchrun starts them, and the smallest run that they can share."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.multiprocessing as mp

from harness.identity import run_folder
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.model.needs import Placement
from harness.records.lines import read_metrics
from harness.schema.run_config import RunConfig
from harness.training import setup, trainer
from tests.reproducible import reproducible

# This base is never right: rewards that differ, so that there is a gradient. 5 prompts do not divide by 2.
LINES = (
    *("experiment=smoke", "objective=grpo"),
    *("rollout.prompts_per_step=5", "trainer.steps=10", "trainer.lr=1e-3", "trainer.microbatch_tokens=300"),
    *("eval.splits=[test]", "trainer.checkpoint_every=4"),
)
REWARD = ("objective.reward.accuracy=0", "objective.reward.length_penalty=1")
PLACEMENTS = {
    "replicas": Placement(2),
    "frozen": Placement(2, frozen_sharded=True),
    "sharded": Placement(2, sharded=True, frozen_sharded=True),
}


def config_at(folder: Path, *overrides: str) -> RunConfig:
    rewarded = () if any(line.startswith("objective=") for line in overrides) else REWARD
    return Composer().config([*LINES, *rewarded, f"output_dir={folder}", *overrides])


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def _process(rank: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    work(*arguments)


def over_two(work: Callable[..., None], *arguments: object) -> None:
    """What torchrun does, in processes that come from this one."""
    mp.start_processes(_process, (free_port(), work, arguments), nprocs=2, start_method="spawn")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def run_once(config: RunConfig, stop_at: int | None = None, placement: str | None = None) -> None:
    """Execute a run, which fails as step `stop_at` begins; with the weights placed as the test says."""
    if placement is not None:
        setup.placement_of = lambda *_: PLACEMENTS[placement]
    if stop_at is not None:
        original = trainer.sample_and_grade

        def stopping(run: object, step: int | None = None) -> object:
            if run.counters.step == stop_at:
                raise RuntimeError("stopped here")
            return original(run, step)

        trainer.sample_and_grade = stopping
    try:
        outcome = execute(config, overrides=[], report=quiet)
        assert outcome == ("finished" if stop_at is None else "failed")
    except RuntimeError:
        assert stop_at is not None and os.environ.get("RANK") == "1"  # process 0 records it, the other raises
    finally:
        if stop_at is not None:
            trainer.sample_and_grade = original


def run_all(configs: Sequence[RunConfig], ports: Sequence[int], placement: str) -> None:
    """One run after another in the same processes, which meet anew for each."""
    for config, port in zip(configs, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        run_once(config, None, placement)


def rows(config: RunConfig) -> list[dict[str, float]]:
    return [reproducible(row) for row in read_metrics(run_folder(config) / "metrics.jsonl")]
