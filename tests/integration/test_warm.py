"""A run in a process that others went through gives the bytes of the same run in a fresh process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import lm_eval.evaluator  # noqa: F401  children are forked: what is imported here is imported once
import pytest
import torch

from harness.launch import execute as execution
from harness.launch.execute import execute
from harness.rollout import engines
from harness.rollout import process_cache as warm
from harness.schema.run_config import RunConfig
from harness.training import setup, trainer
from harness.training.run_state import Run
from harness.types import Prompt
from tests.integration.test_resume import config_at, evidence, quiet

SMALL = ("trainer.steps=2", "eval.splits=[validation,test]")
ARMS: dict[str, tuple[str, ...]] = {
    "grpo": ("objective=grpo", *SMALL),
    "ppo": ("objective=ppo", *SMALL),
    "longer": ("objective=grpo", *SMALL, "seed=1", "rollout.max_new_tokens=48", "rollout.group_size=6"),
}


def in_a_fresh_process(config: RunConfig) -> None:
    def child() -> None:
        warm.drop()
        torch.set_num_threads(1)
        assert execute(config, overrides=[], report=quiet) == "finished"

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.timeout(600)
def test_a_run_does_not_depend_on_the_runs_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = {name: config_at(tmp_path / "fresh", *lines) for name, lines in ARMS.items()}
    for config in fresh.values():
        in_a_fresh_process(config)
    warm.drop()
    loads: list[object] = []
    original = engines.load_engine
    monkeypatch.setattr(engines, "load_engine", lambda *a: loads.append(a) or original(*a))
    after = {name: config_at(tmp_path / "warm", *lines) for name, lines in ARMS.items()}
    for name in ("longer", "ppo"):
        assert execute(after[name], overrides=[], report=quiet) == "finished"
    assert len(loads) == 1, "the engine was built again"
    _fail_in_the_second_step(config_at(tmp_path / "warm", "objective=grpo", "seed=7", *SMALL), monkeypatch)
    assert execute(after["grpo"], overrides=[], report=quiet) == "finished"
    assert len(loads) == 2, "a failed run must leave no engine behind"
    for name in ARMS:
        expected, found = evidence(fresh[name]), evidence(after[name])
        assert len(expected) > 8 and found.keys() == expected.keys()
        for part in expected:
            assert found[part] == expected[part], f"{name}: {part}"


def _fail_in_the_second_step(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    score = trainer.score

    def broken(run: Run, *args: object) -> object:
        if run.counters.step == 1:
            with torch.no_grad():
                run.models.policy.head_weight.fill_(float("nan"))
            raise RuntimeError("injected")
        return score(run, *args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "score", broken)
        assert execute(config, overrides=[], report=quiet) == "failed"


def test_another_architecture_or_setting_builds_another_engine(tmp_path: Path) -> None:
    plain = config_at(tmp_path, *ARMS["grpo"])
    base = execution.ensure_base(plain, quiet) / "model"
    key = engines.engine_key(plain, base, "cpu")
    assert engines.engine_key(config_at(tmp_path, "seed=3", "rollout.group_size=6"), base, "cpu") == key
    assert engines.engine_key(config_at(tmp_path, "rollout.max_batch_size=7"), base, "cpu") != key
    assert engines.engine_key(plain, base, "cuda") != key
    room = "model.dims.max_position_embeddings=9000"
    long = config_at(tmp_path, room, "eval.max_new_tokens=4096")  # its cache has pages
    assert engines.engine_key(long, base, "cpu") != engines.engine_key(config_at(tmp_path, room), base, "cpu")
    wide = config_at(tmp_path, "model.dims.intermediate_size=96", "model.pretrain.steps=5")
    assert engines.engine_key(wide, execution.ensure_base(wide, quiet) / "model", "cpu") != key


def test_prompts_are_kept_for_the_same_problems_alone(tmp_path: Path) -> None:
    warm.drop()
    base = execution.ensure_base(config_at(tmp_path), quiet)

    def prompts(*lines: str) -> dict[str, Prompt]:
        config = config_at(tmp_path, *lines)
        return setup.setup(config, base=base, folder=tmp_path / "run", device="cpu").prompts

    first = prompts()
    assert prompts("objective=ppo", "seed=5") is first
    other = prompts("data.data_seed=9")
    assert other is not first and other != first
    assert len(prompts("data.num_train=16")) == 16


def test_a_kept_value_is_freed_before_its_successor_is_built() -> None:
    class Value:
        alive = 0

        def __init__(self) -> None:
            Value.alive += 1
            self.itself = self  # only the collector frees it

        def __del__(self) -> None:
            Value.alive -= 1

    def build() -> Value:
        assert Value.alive == 0
        return Value()

    first, was_there = warm.cached("test", 1, build)
    assert not was_there
    again, was_there = warm.cached("test", 1, build)
    assert was_there and again is first
    del first, again
    warm.cached("test", 2, build)
    warm.drop("test")
    assert Value.alive == 0
