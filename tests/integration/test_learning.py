"""A run on a CPU raises its reward within seconds, and its first steps stay on a committed trajectory.

After a change that is meant to move the numbers, write the trajectory anew and say why in the commit:

    python -m tests.integration.test_learning
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness.bases.pretrain import ensure_base
from harness.launch.compose import Composer
from harness.records.lines import read_metrics
from harness.schema.run_config import RunConfig
from harness.training.setup import setup
from harness.training.trainer import train

GOLDEN = Path(__file__).parent / "golden_smoke.json"
NAMES = ("loss", "reward", "grad_norm", "kept_loss")
# A base of 60 steps solves nothing; it can learn to be short.
SHORTER = [
    "objective.reward.accuracy=0",
    "objective.reward.inverted=0",
    "objective.reward.length_penalty=1",
]
ACCEPTED = [*SHORTER, "objective.advantage.threshold=-0.6"]  # at most 14 of the 24 tokens
ARMS = {
    "smoke": [],  # the experiment as it stands
    "grpo": ["objective=grpo", *SHORTER],
    "sft_rejection": ["objective=sft_rejection", *ACCEPTED],
    "sft_rejection_offline": [
        "objective=sft_rejection_offline",
        "objective.offline.batch_size=2",
        *ACCEPTED,
    ],
}


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def metrics_of(folder: Path, name: str, *overrides: str) -> list[dict[str, Any]]:
    """The metrics of a run of experiment=smoke; runs in one folder share their base."""
    config: RunConfig = Composer().config(["experiment=smoke", f"output_dir={folder}", *overrides])
    base = ensure_base(config, quiet)
    run = setup(config, base=base, folder=folder / name, device="cpu")
    train(run, report=quiet, log=lambda metrics: None, evaluate=lambda run: None)
    return read_metrics(folder / name / "metrics.jsonl")


def trajectory(folder: Path) -> dict[str, list[dict[str, float]]]:
    found = {}
    for arm, lines in ARMS.items():
        rows = metrics_of(folder, arm, *lines)
        found[arm] = [{name: row[name] for name in NAMES if name in row} for row in rows[:4]]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize(
    ("objective", "reward"), [("grpo", SHORTER), ("sft_rejection", ACCEPTED)], ids=["grpo", "sft_rejection"]
)
def test_the_reward_rises(objective: str, reward: list[str], folder: Path) -> None:
    lines = (f"objective={objective}", "trainer.steps=30", "trainer.lr=3e-3", "rollout.group_size=8")
    rewards = [row["reward"] for row in metrics_of(folder, f"rises-{objective}", *lines, *reward)]
    first, last = sum(rewards[:3]) / 3, sum(rewards[-3:]) / 3
    assert -1 <= first <= last <= 0
    assert last > first + 0.15, rewards


def test_the_first_steps_stay_on_the_golden_trajectory(folder: Path) -> None:
    found, golden = trajectory(folder), json.loads(GOLDEN.read_text())
    assert found.keys() == golden.keys()
    for arm, rows in golden.items():
        assert len(rows) == len(found[arm]) == 4
        for step, (row, ours) in enumerate(zip(rows, found[arm], strict=True), start=1):
            assert ours == pytest.approx(row, rel=1e-3, abs=1e-5), f"{arm}, step {step}"
        assert all(row["grad_norm"] > 0 for row in rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        GOLDEN.write_text(json.dumps(trajectory(Path(temporary)), indent=1) + "\n")
