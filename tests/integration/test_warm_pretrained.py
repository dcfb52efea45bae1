"""Runs on a pretrained model's folder share one engine with each other and with their evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.launch.execute import execute
from harness.rollout import engines
from harness.rollout import process_cache as warm
from harness.schema.run_config import RunConfig
from tests.integration.test_pretrained import configure, quiet
from tests.integration.test_resume import evidence
from tests.integration.test_warm import in_a_fresh_process
from tests.unit.harness.tiny import untrained_base


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sweep_on_a_folder_builds_one_engine(
    tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = untrained_base(tmp_path / "elsewhere") / "model"
    written = json.loads((folder / "config.json").read_text())
    # A hub's file says more than ours, and says the end token where a checkpoint's says it too.
    (folder / "config.json").write_text(json.dumps(written | {"transformers_version": "4.40.0"}))
    warm.drop()
    loads: list[object] = []
    original = engines.load_engine
    monkeypatch.setattr(engines, "load_engine", lambda *a: loads.append(a) or original(*a))
    for seed in (0, 1):
        config = configure(tmp_path, "model=folder", f"model.path={folder}", f"dtype={dtype}", f"seed={seed}")
        assert execute(config, overrides=[], report=quiet) == "finished"
    assert len(loads) == 1


def test_an_end_token_of_config_json_alone_builds_another_engine(tmp_path: Path) -> None:
    folder = untrained_base(tmp_path / "elsewhere") / "model"
    config = configure(tmp_path, "model=folder", f"model.path={folder}")
    key = engines.engine_key(config, folder, "cpu")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written, indent=None))
    assert engines.engine_key(config, folder, "cpu") == key
    (folder / "config.json").write_text(json.dumps(written | {"eos_token_id": 9}))
    assert engines.engine_key(config, folder, "cpu") != key


def test_a_run_on_a_folder_does_not_depend_on_the_runs_before_it(tmp_path: Path) -> None:
    folder = untrained_base(tmp_path / "elsewhere") / "model"
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | {"transformers_version": "4.40.0"}))
    reward = ("objective.reward.accuracy=0", "objective.reward.random=1", "rollout.group_size=6")

    def config(name: str, *lines: str) -> RunConfig:
        (tmp_path / name).mkdir(exist_ok=True)
        given = ("model=folder", f"model.path={folder}", "dtype=bfloat16", *reward)
        return configure(tmp_path / name, *given, *lines)

    fresh, after = config("fresh"), config("warm")
    in_a_fresh_process(fresh)
    warm.drop()
    for lines in (
        ("seed=3",),
        ("+trainer.lora={rank: 2, alpha: 4}",),
        ("dtype=float32", "rollout.max_batch_size=3"),
        ("objective=ppo", "objective.updates.minibatches=1", "seed=4"),
    ):
        assert execute(config("warm", *lines), overrides=[], report=quiet) == "finished"
    assert execute(after, overrides=[], report=quiet) == "finished"
    expected, found = evidence(fresh), evidence(after)
    assert len(expected) > 8 and expected.keys() <= found.keys()  # the base was evaluated for each seed
    assert '"updates": 2.0' in str(expected["metrics"])
    for part in expected:
        assert found[part] == expected[part], part
