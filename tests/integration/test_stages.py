"""A pipeline of three stages: each begins from the last checkpoint before, and a killed one ends the same."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from pathlib import Path

import lm_eval.evaluator  # noqa: F401  children are forked: what is imported here is imported once
import pytest
import torch
from safetensors.torch import load_file

from harness.identity import base_folder, eval_key, run_folder
from harness.launch.compose import Composer
from harness.launch.run import main
from harness.launch.status import decide
from harness.records.lines import read_metrics
from harness.records.records import eval_paths, read_run
from harness.schema.run_config import RunConfig
from tests.integration.test_resume import evidence, install
from tests.unit.harness.launch.test_sweep import CONF

Kill = tuple[str, str, int, str]
# One update and one checkpoint a stage are enough for its logic; a rate that moves the weights.
LINES = (
    "experiment=smoke",
    "pipeline=three",
    "pipeline.cold_start.trainer.steps=2",
    "pipeline.cold_start.objective.offline.epochs=1",
    "pipeline.rl.trainer.steps=2",
    "pipeline.rl.objective.updates.minibatches=1",
    "pipeline.again.trainer.lr=3e-3",
    "pipeline.again.objective.selection.fn=all",
    "pipeline.again.objective.selection.max_sampled=null",
    "pipeline.again.objective.selection.by=reward",
    "trainer.schedule=linear",
    "trainer.warmup_steps=0",
    "trainer.checkpoint_every=1",
    "eval.splits=[validation,test]",
    "device=cpu",
)
# (module, function, nth call, before or after it) in the order of the pipeline's life: where SIGKILL strikes.
KILLS: list[Kill] = [
    ("harness.training.offline", "write_samples", 1, "after"),  # of the cold start, before its first update
    ("harness.training.trainer", "publish", 1, "before"),
    ("harness.launch.evaluating", "evaluate", 1, "before"),
    ("harness.training.setup", "load_policy", 2, "after"),  # the second stage has its start, and no step
    ("harness.training.trainer", "sample", 2, "after"),
    ("harness.training.saving", "copy_tokenizer", 1, "after"),
    ("harness.launch.evaluating", "evaluate", 1, "before"),
    ("harness.training.update", "guarded_step", 1, "after"),  # of the third
    ("harness.training.trainer", "save", 1, "after"),
    ("harness.launch.evaluating", "evaluate", 1, "after"),
    ("harness.launch.execute", "dead_flags", 1, "before"),
]


def stages(folder: Path, *more: str) -> list[RunConfig]:
    return Composer(CONF).configs([*LINES, f"output_dir={folder}", *more])


def _child(arguments: list[str], kill: Kill | None) -> None:
    torch.set_num_threads(1)
    if kill is not None:
        install(kill)
    raise SystemExit(main(arguments))


def launch(folder: Path, *more: str, kill: Kill | None = None) -> int:
    arguments = ["--config-dir", CONF, *LINES, f"output_dir={folder}", *more]
    process = multiprocessing.get_context("fork").Process(target=_child, args=(arguments, kill))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert launch(folder) == 0
    return folder


def weights(config: RunConfig) -> dict[str, torch.Tensor]:
    step = read_run(run_folder(config)).steps_done
    return load_file(run_folder(config) / "checkpoints" / f"step_{step:06d}" / "model.safetensors")


def test_a_stage_begins_from_the_last_weights_of_the_one_before(whole: Path) -> None:
    cold, rl, again = stages(whole)
    before = load_file(base_folder(cold) / "model" / "model.safetensors")
    for config in (cold, rl, again):
        assert all(row["grad_norm"] > 0 for row in read_metrics(run_folder(config) / "metrics.jsonl"))
        after = weights(config)
        # AdamW's first steps change each weight by about the rate: nothing else can have come between.
        steps = sum(row["updates"] for row in read_metrics(run_folder(config) / "metrics.jsonl"))
        largest = max(float((after[name] - before[name]).abs().max()) for name in after)
        assert 0 < largest <= 1.01 * steps * config.trainer.lr, config.stage
        before = after
    # The KL of the second stage is to the model that it began from; what is kept is of the untrained base.
    first = read_metrics(run_folder(rl) / "metrics.jsonl")[0]
    assert first["kl"] == pytest.approx(0, abs=1e-7) and first["kept_kl_reverse"] > 1e-7


def test_the_reference_may_be_the_untrained_base(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "out")
    other = ("stage=rl", "pipeline.rl.objective.kl.reference=untrained")
    assert launch(tmp_path / "out", *other) == 0
    *_, rl = stages(tmp_path / "out", *other)
    assert read_metrics(run_folder(rl) / "metrics.jsonl")[0]["kl"] > 1e-7


def test_each_checkpoint_is_evaluated_once_by_one_protocol(whole: Path) -> None:
    found = stages(whole)
    (key,) = {eval_key(config) for config in found}
    assert {p.parent.name for p in eval_paths(base_folder(found[0]))} == {f"base-{key}"}
    for config in found:
        (name,) = {p.parent.name for p in eval_paths(run_folder(config))}
        assert name == f"step_{read_run(run_folder(config)).steps_done:06d}-{key}"
        assert decide(config)[0] == "skip"


def test_a_stage_by_another_protocol_evaluates_its_start_by_that(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "out")
    more = ("stage=rl", "pipeline.rl.eval.k=3")
    cold, rl = stages(tmp_path / "out", *more)
    assert decide(rl)[0] == "evaluate"
    assert launch(tmp_path / "out", *more) == 0
    place = run_folder(cold) / "eval" / f"step_{read_run(run_folder(cold)).steps_done:06d}-{eval_key(rl)}"
    assert {path.name for path in place.glob("*.json")} == {
        "aime_gen_test_k.json",
        "aime_gen_validation_k.json",
    }
    assert decide(rl)[0] == "skip"


def test_a_start_that_is_gone_is_named_and_a_damaged_one_refused(whole: Path, tmp_path: Path, capfd) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    cold, _, again = stages(folder)
    shutil.rmtree(run_folder(again))
    (_, rl, _) = stages(folder)
    step = read_run(run_folder(rl)).steps_done
    file = run_folder(rl) / "checkpoints" / f"step_{step:06d}" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert launch(folder) == 1
    assert str(file.parent) in (read_run(run_folder(again)).reason or "")
    shutil.rmtree(file.parent)
    assert launch(folder) == 1
    reason = read_run(run_folder(again)).reason or ""
    assert f"begins from {run_folder(rl)}, whose last checkpoint is gone; delete that folder" in reason
    shutil.rmtree(run_folder(rl))  # what it advises
    assert launch(folder) == 0
    assert weights(again).keys() == weights(stages(whole)[2]).keys()
    assert all(torch.equal(value, weights(stages(whole)[2])[name]) for name, value in weights(again).items())
    assert decide(cold)[0] == "skip"


@pytest.mark.timeout(600)
def test_killed_in_each_stage_it_ends_with_the_same_bits(whole: Path, tmp_path: Path) -> None:
    # The base is no stage's: one that is made is enough.
    shutil.copytree(whole / "bases", tmp_path / "bases")
    for kill in KILLS:
        assert launch(tmp_path, kill=kill) == -signal.SIGKILL, f"{kill} never struck"
    assert launch(tmp_path) == 0
    for one, other in zip(stages(whole), stages(tmp_path), strict=True):
        expected, found = evidence(one), evidence(other)
        assert expected.keys() == found.keys() and len(expected) > 6
        assert [name for name in expected if expected[name] != found[name]] == []
        assert read_run(run_folder(other)).num_resumes > 0
