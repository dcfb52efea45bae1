"""A run that is killed anywhere and launched again ends with the numbers of one that was left alone."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
from pathlib import Path

import lm_eval.evaluator  # noqa: F401  children are forked: what is imported here is imported once
import pytest
import torch
from safetensors.torch import load_file

from harness.identity import base_folder, run_folder
from harness.launch.bookkeeping import final_numbers
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.records.lines import read_metrics
from harness.records.records import eval_paths, read_eval, read_run
from harness.schema.run_config import RunConfig
from tests.reproducible import reproducible

# (module, function, nth call, before or after it): where SIGKILL strikes, in the order of a run's life.
KILLS = [
    ("harness.bases.pretrain", "guarded_step", 3, "before"),
    ("harness.records.published", "os.rename", 1, "before"),  # writing the base's resume state
    ("harness.bases.pretrain", "guarded_step", 52, "after"),
    ("harness.bases.pretrain", "save_tokenizer", 1, "after"),  # the base's folder half written
    ("harness.bases.base", "write_record", 1, "before"),  # weights published, record missing
    ("harness.rollout.engines", "load_pretrained", 1, "after"),
    ("harness.training.trainer", "sample", 1, "before"),
    ("harness.training.trainer", "sample", 1, "after"),
    ("harness.training.trainer", "score", 2, "after"),
    ("harness.training.update", "guarded_step", 1, "before"),
    ("harness.training.update", "guarded_step", 3, "after"),
    ("harness.training.checkpoint", "torch.save", 1, "before"),
    ("harness.training.checkpoint", "torch.save", 1, "after"),
    ("harness.records.published", "os.rename", 1, "before"),
    ("harness.training.trainer", "save", 1, "after"),
    ("harness.training.trainer", "sample", 2, "after"),  # from here on after a resume at step 2
    ("harness.training.trainer", "publish", 1, "before"),
    ("harness.training.saving", "copy_tokenizer", 1, "after"),  # a checkpoint folder half written
    ("harness.training.trainer", "save", 1, "before"),
    ("harness.launch.execute", "write_record", 2, "before"),
    ("harness.launch.evaluating", "evaluate", 1, "before"),
    ("harness.evaluation.evaluate", "write_samples", 1, "before"),
    ("harness.records.published", "os.replace", 6, "before"),  # a record's file half written
    ("harness.evaluation.evaluate", "write_samples", 3, "after"),
    ("harness.launch.evaluating", "evaluate", 2, "after"),
    ("harness.launch.execute", "dead_flags", 1, "before"),
]


# The smoke run solves nothing, so its gradients are 0; this reward moves the weights at every step.
MOVING = ("objective.reward.random=1", "trainer.lr=3e-3")


def assert_weights_moved(config: RunConfig) -> None:
    """Else equal weights would say nothing of what was restored."""
    (checkpoint,) = run_folder(config).glob("checkpoints/*/model.safetensors")
    after, before = load_file(checkpoint), load_file(base_folder(config) / "model" / "model.safetensors")
    assert all(not torch.equal(after[name], before[name]) for name in before)


def config_at(folder: Path, *overrides: str) -> RunConfig:
    """A run of experiment=smoke whose learning rate says where it is in its schedule."""
    lines = ("experiment=smoke", "trainer.schedule=linear", f"output_dir={folder}")
    return Composer().config([*lines, *overrides])


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def install(kill: tuple[str, str, int, str]) -> None:
    """Let a function of this process kill it at its nth call."""
    module_name, path, nth, when = kill
    owner = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), 0

    def strike(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, strike)


def _child(config: RunConfig, kill: tuple[str, str, int, str] | None) -> None:
    torch.set_num_threads(1)
    if kill is not None:
        install(kill)
    assert execute(config, overrides=[], report=quiet) == "finished"


def launch(config: RunConfig, kill: tuple[str, str, int, str] | None) -> int:
    process = multiprocessing.get_context("fork").Process(target=_child, args=(config, kill))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def evidence(config: RunConfig) -> dict[str, object]:
    """Everything a reader would use, to the bit, but for seconds and memory."""
    folder, base = run_folder(config), base_folder(config)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = "seconds_sample" if config.objective.offline is None else "seconds_train"
    assert all(row[timed] > 0 and row["peak_memory_train"] > 0 for row in rows)
    found: dict[str, object] = {"metrics": json.dumps([reproducible(row) for row in rows])}
    for path in [*folder.glob("checkpoints/*/model.safetensors"), *base.glob("model/*")]:
        found[f"{path.parent.name}/{path.name}"] = path.read_bytes()
    for owner in (folder, base):
        for path in eval_paths(owner):
            record = json.loads(path.read_text())
            for name in ("seconds", "checksum"):  # a checksum covers the seconds, too
                record.pop(name)
            found[f"{path.parent.name}/{path.name}"] = record
            samples = path.with_name(path.name.replace(".json", ".samples.jsonl.gz"))
            found[f"{path.parent.name}/{samples.name}"] = samples.read_bytes()
    return found


def assert_moved(config: RunConfig, found: dict[str, object]) -> None:
    """Every step had a gradient and an update, and the last weights are not the base's.

    Else states could be lost, and the numbers would agree all the same.
    """
    rows = read_metrics(run_folder(config) / "metrics.jsonl")
    assert all(row["grad_norm"] > 0 and row["updates"] > 0 for row in rows)
    assert found[f"step_{len(rows):06d}/model.safetensors"] != found["model/model.safetensors"]
    assert len({row["lr"] for row in rows[1:]}) > 1  # the schedule's position shows


@pytest.mark.timeout(600)
def test_killed_anywhere_ends_the_same(tmp_path: Path) -> None:
    whole = config_at(tmp_path / "whole", *MOVING)
    assert launch(whole, None) == 0
    assert_weights_moved(whole)
    broken = config_at(tmp_path / "broken", *MOVING)
    for kill in KILLS:
        assert launch(broken, kill) == -signal.SIGKILL, f"{kill} never struck"
    assert launch(broken, None) == 0
    expected, found = evidence(whole), evidence(broken)
    assert len(expected) > 20 and expected.keys() == found.keys()
    assert_moved(whole, expected)
    for name in expected:
        assert found[name] == expected[name], name
    record = read_run(run_folder(broken))
    assert record.status == "finished" and record.num_resumes > 10
    assert not list((tmp_path / "broken").rglob("*.tmp"))


def test_two_processes_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = config_at(tmp_path / "a"), config_at(tmp_path / "b")
    assert launch(first, None) == launch(second, None) == 0
    assert evidence(first) == evidence(second)
    assert_moved(first, evidence(first))
    last = final_numbers(first, run_folder(first), step=4)  # what W&B's summary is given
    records = [read_eval(path) for path in eval_paths(run_folder(first))]
    assert last["test/avg_at_k"] == next(r.metrics["avg_at_k"] for r in records if r.split == "test")
    assert {name.split("/")[0] for name in last} == {"train", "perturbed", "validation", "test", "heldout"}
