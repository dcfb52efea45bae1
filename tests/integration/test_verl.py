"""A run with trainer.engine=verl from its config to its record, with a stand-in for verl's processes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.identity import base_folder, run_folder, weights_folder
from harness.launch import execute as execute_module
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.launch.run import main
from harness.records.lines import read_metrics, read_samples
from harness.records.records import eval_paths, read_run
from harness.schema.run_config import RunConfig
from harness.training.verl import engine
from tests.benchmarks.two_engines import measure
from tests.integration import verl_stand_in

SETTINGS = (
    "experiment=smoke",
    "trainer.engine=verl",
    "trainer.verl.gpus=2",
    "dtype=bfloat16",
    "objective=grpo",
    "objective.reward.inverted=0",
    "trainer.warmup_steps=0",
    "objective.updates.minibatches=2",
    "eval.at_steps=[1]",
    "trainer.checkpoint_every=1",
)


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setattr(engine, "POLL", 0.05)
    python = verl_stand_in.install(tmp_path)
    return Composer().config([*SETTINGS, f"output_dir={tmp_path}", f"trainer.verl.python={python}"])


def test_a_whole_run_leaves_what_every_run_leaves(config: RunConfig) -> None:
    assert execute(config, overrides=[], report=quiet) == "finished"
    folder = run_folder(config)
    record, metrics = read_run(folder), read_metrics(folder / "metrics.jsonl")
    assert record.steps_done == 4 and record.packages["verl"] == "0.9.1"
    assert record.hardware["processes"] == 2
    assert [line.partition(":")[0] for line in record.unmatched] == [
        "seeds",
        "not measured",
        "objective.kl",
        "objective.updates.minibatches",
    ]
    assert [row["step"] for row in metrics] == [1, 2, 3, 4]
    # Of four outputs one is right, two are cut at 24 tokens: the group's rewards differ.
    first = metrics[0]
    assert (first["reward"], first["accuracy"], first["truncated"]) == (0.25, 0.25, 0.5)
    assert first["zero_variance_groups"] == 0.0
    assert (first["loss"], first["ratio"], first["seconds_reference"]) == (-0.1, 1.0, 0.75)
    assert first["gpu_seconds"] == 16.0 and first["sampled_per_second"] == first["sampled_tokens"] / 2
    assert (first["updates"], metrics[1]["skipped_updates"]) == (2.0, 1.0)
    assert record.seconds["sample"] == 8.0
    assert record.tokens["sampled"] == sum(row["sampled_tokens"] for row in metrics)
    assert record.flops["trained"] == 3 * record.flops["sampled"]
    shown = list(read_samples(folder / "rollouts" / "step_000003.jsonl.gz"))
    assert len(shown) == config.rollout.keep and shown[0]["correct"] and not shown[1]["correct"]
    assert {path.parent.name[:11] for path in eval_paths(folder)} == {"step_000001", "step_000004"}


def test_its_checkpoints_are_verls_weights_in_our_layout(config: RunConfig) -> None:
    execute(config, overrides=[], report=quiet)
    folder = run_folder(config)
    start = load_file(base_folder(config) / "model" / "model.safetensors")
    for step in (1, 4):
        found = load_file(weights_folder(folder, step) / "model.safetensors")
        assert all(torch.equal(found[name], x.float() + 0.001 * step) for name, x in start.items())
        assert (weights_folder(folder, step) / "tokenizer.json").exists()
    assert not (folder / "verl" / "checkpoints").exists()


def test_a_run_that_verl_leaves_is_failed_and_goes_on_from_its_checkpoint(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops after step 3, whose checkpoint is that of step 2: step 3 is done again, and counted once."""
    config = config.model_copy(
        update={
            "trainer": config.trainer.model_copy(update={"checkpoint_every": 2}),
            "eval": config.eval.model_copy(update={"at_steps": [2]}),
        }
    )
    monkeypatch.setenv("STAND_IN_STOPS", "3")
    assert execute(config, overrides=[], report=quiet) == "failed"
    folder = run_folder(config)
    reason = read_run(folder).reason or ""
    assert "verl ended after step 3 of 4" in reason and "was told to stop" in reason
    assert "output.log" in reason
    assert execute(config, overrides=[], report=quiet) == "finished"
    whole = read_metrics(folder / "metrics.jsonl")
    assert [row["step"] for row in whole] == [1, 2, 3, 4]
    assert read_run(folder).tokens["sampled"] == sum(row["sampled_tokens"] for row in whole)
    assert {row["reward"] for row in whole} == {0.25}
    assert len(list((folder / "verl").glob("metrics-*.jsonl"))) == 2


def test_a_run_that_is_preempted_ends_verl_and_goes_on(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(config)
    told = lambda: len(read_metrics(folder / "metrics.jsonl")) >= 2  # noqa: E731
    monkeypatch.setattr(execute_module, "preempted", told)
    with pytest.raises(KeyboardInterrupt):
        execute(config, overrides=[], report=quiet)
    record = read_run(folder)
    assert record.status == "interrupted" and "verl goes on from its checkpoint" in (record.reason or "")
    monkeypatch.setattr(execute_module, "preempted", lambda: False)
    assert execute(config, overrides=[], report=quiet) == "finished", read_run(folder).reason
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3, 4]


def test_a_run_goes_on_where_verl_was_ended_while_it_wrote_the_step_of_its_checkpoint(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was emptied, the checkpoint of step 3 is whole; step 4 alone is done."""
    monkeypatch.setenv("STAND_IN_STOPS", "3")
    assert execute(config, overrides=[], report=quiet) == "failed"
    folder = run_folder(config)
    (folder / "verl" / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("")
    assert execute(config, overrides=[], report=quiet) == "finished", read_run(folder).reason
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3, 4]
    last = (folder / "verl" / "metrics-001.jsonl").read_text().splitlines()
    assert len(last) == 1


def test_the_benchmark_of_two_engines_runs_whole(tmp_path: Path) -> None:
    """Two seeds a side: of the stand-in's outputs each fourth is right, of the smallest base's none."""
    settings = [
        line for line in SETTINGS if line.startswith(("experiment", "dtype", "objective", "trainer.w"))
    ]
    verl = [f"trainer.verl.python={verl_stand_in.install(tmp_path)}", "trainer.verl.gpus=2"]
    found = measure(tmp_path, 2, [*settings, "tracking.mode=disabled"], verl)
    native, other = (found["engines"][name] for name in ("native", "verl"))
    assert [native["gpus"], other["gpus"]] == [1, 2] and other["unmatched"] and not native["unmatched"]
    assert other["curves"]["accuracy"] == [[0.25] * 4] * 2 and len(native["curves"]["accuracy"]) == 2
    # The stand-in's seconds are 2 of sampling, 0.5 and 0.25 of scores, and what it says of the update.
    assert other["seconds_a_step"] > 2.75 and native["seconds_a_step"] > 0
    gap = found["agreement"]["accuracy"]
    assert gap["difference"] == gap["low"] == 0.25 and not gap["agree"]


def test_a_verl_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.3)
    command = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    engine._stop(process)
    assert process.returncode == -signal.SIGKILL


def test_another_version_is_refused_before_anything_starts(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    python = verl_stand_in.install(other, version="0.8.0")
    code = main([*SETTINGS, "device=auto", f"output_dir={other}", f"trainer.verl.python={python}"])
    assert code == 2
    assert "verl 0.8.0 is installed; install verl==0.9.1" in capsys.readouterr().err
    assert not (other / "smoke").exists()


def test_no_verl_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    assert main([*SETTINGS, f"output_dir={tmp_path}"]) == 2
    assert "verl is not installed here; pip install '.[verl]'" in capsys.readouterr().err
