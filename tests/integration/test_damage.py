"""Damage on the disk between two launches: the run ends with the same bits, or names what to delete."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness.identity import base_folder, run_folder
from harness.records.lines import read_metrics
from harness.records.records import RecordError, read_run
from harness.schema.run_config import RunConfig
from tests.damage import DAMAGE, flip
from tests.integration.test_resume import MOVING, assert_weights_moved, config_at, evidence, launch

IN_STEP_3 = ("harness.training.trainer", "sample", 3, "before")  # there is a state of step 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    config = config_at(tmp_path_factory.mktemp("whole"), *MOVING)
    assert launch(config, None) == 0
    assert_weights_moved(config)
    return config


@pytest.mark.timeout(600)
def test_an_interrupted_run_with_damaged_files_ends_the_same(
    whole: RunConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = config_at(tmp_path / "broken", *MOVING)
    folder, base = run_folder(config), base_folder(config)
    rounds = [  # each but the last costs the saved state: the run starts anew, and is killed in step 3 again
        {folder / "resume" / "step_000002" / "state.pt": "a flipped bit"},
        {folder / "resume" / "step_000002" / "trainer.json": "null"},
        {folder / "metrics.jsonl": "truncated"},
        {base / "model" / "model.safetensors": "a flipped bit", folder / "run.json": "empty"},
    ]
    assert launch(config, IN_STEP_3) == -signal.SIGKILL
    for number, damaged in enumerate(rounds, 1):
        for path, damage in damaged.items():
            DAMAGE[damage](path)
        capfd.readouterr()
        last = number == len(rounds)
        assert launch(config, None if last else IN_STEP_3) == (0 if last else -signal.SIGKILL)
        assert f"warning: {next(iter(damaged))}: " in capfd.readouterr().err
    expected, found = evidence(whole), evidence(config)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name], name


def test_metrics_of_a_finished_run_are_checked(whole: RunConfig) -> None:
    path = run_folder(whole) / "metrics.jsonl"
    before, number = path.read_bytes(), len(read_metrics(path))
    assert number == 4
    flip(path)
    with pytest.raises(RecordError, match="its content is not what was written"):
        read_metrics(path)
    path.write_bytes(before)


@pytest.mark.timeout(600)
def test_a_damaged_checkpoint_is_not_evaluated_and_its_remedy_works(whole: RunConfig) -> None:
    weights = run_folder(whole) / "checkpoints" / "step_000004" / "model.safetensors"
    bits = weights.read_bytes()
    flip(weights)
    later = whole.model_copy(update={"eval": whole.eval.model_copy(update={"k": 3})})
    assert launch(later, None) != 0
    reason = read_run(run_folder(later)).reason or ""
    assert f"{weights}: its content is not what was written" in reason
    assert f"delete {weights.parents[1]} and launch again" in reason
    DAMAGE["deleted"](weights.parents[1])
    assert launch(later, None) == 0 and weights.read_bytes() == bits
