"""A run that is told to stop saves the step under way, and goes on from it to the same bytes."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from pathlib import Path

import lm_eval.evaluator  # noqa: F401  children are forked: what is imported here is imported once
import pytest
import torch

from harness.identity import base_folder, run_folder
from harness.launch.execute import execute
from harness.launch.signals import installed
from harness.records.records import read_run
from harness.schema.run_config import RunConfig
from tests.integration.test_resume import config_at, evidence, launch, quiet

MOVES = ("objective.reward.random=1", "trainer.lr=3e-3", "eval.splits=[test]", "trainer.checkpoint_every=4")


def _child(config: RunConfig, number: int) -> None:
    """Send the process a signal in the middle of its first step."""
    torch.set_num_threads(1)
    trainer = importlib.import_module("harness.training.trainer")
    original = trainer.score

    def strike(*args: object, **kwargs: object) -> object:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # a launcher passes on what a scheduler sent to all
        return original(*args, **kwargs)

    trainer.score = strike
    signal.signal(number, signal.SIG_DFL)  # nohup leaves SIGHUP ignored
    with installed():
        try:
            execute(config, overrides=[], report=quiet)
        except KeyboardInterrupt:
            os._exit(130)


@pytest.mark.timeout(600)
def test_every_step_can_be_the_last_before_a_preemption(tmp_path: Path) -> None:
    whole, broken = config_at(tmp_path / "whole", *MOVES), config_at(tmp_path / "broken", *MOVES)
    assert launch(whole, None) == 0
    for step, number in enumerate((signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP), 1):
        process = multiprocessing.get_context("fork").Process(target=_child, args=(broken, number))
        process.start()
        process.join()
        assert process.exitcode == 130
        record = read_run(run_folder(broken))
        assert record.status == "interrupted"
        assert (
            record.reason == f"stopped by a signal after step {step}, which is saved; launch again to go on"
        )
    assert launch(broken, None) == 0
    expected, found = evidence(whole), evidence(broken)
    assert len(expected) > 8 and expected.keys() == found.keys()
    for name in expected:
        assert found[name] == expected[name], name
    trained = (run_folder(whole) / "checkpoints" / "step_000004" / "model.safetensors").read_bytes()
    assert trained != (base_folder(whole) / "model" / "model.safetensors").read_bytes()
