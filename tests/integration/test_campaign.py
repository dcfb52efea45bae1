"""The fault campaign in short: some of each kind survive, and a run that ends otherwise is called so."""

from __future__ import annotations

import argparse
import random
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from tests.campaign import __main__ as campaign
from tests.campaign.damage import HOW, harm
from tests.campaign.runs import Ended, Work, command, compared, differences, evidence, launch, runs_of

SHORT = ("kill", "signal", "kill", "damage", "stop", "damage")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    for name in campaign.PRELOAD:  # children are forked: what is imported here is imported once
        import_module(name)
    return Work(tmp_path_factory.mktemp("campaign"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "kind"), list(enumerate(SHORT)))
def test_a_fault_is_survived(work: Work, seed: int, kind: str) -> None:
    verdict = campaign.struck(kind, work, seed)
    assert verdict.survived, f"{verdict.what}: {verdict.outcome} {verdict.detail}"


@pytest.mark.timeout(300)
def test_a_weight_that_differs_is_a_wrong_number(work: Work) -> None:
    reference = work.reference("grpo")
    outputs = work.fresh(99, reference)
    done = Ended(0, "")
    assert compared(done, outputs, reference) == ("identical", "")
    (weights,) = runs_of(outputs)[0].glob("checkpoints/*/model.safetensors")
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    outcome, detail = compared(done, outputs, reference)
    assert outcome == "wrong number" and detail == weights.relative_to(outputs).as_posix()
    weights.write_bytes(data)
    metrics = runs_of(outputs)[0] / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[1:]))
    assert differences(evidence(outputs), evidence(reference)) == [metrics.relative_to(outputs).as_posix()]
    assert compared(Ended(1, "failed: no such thing"), outputs, reference)[0] == "lost"
    assert compared(Ended(1, "Traceback (most recent call last):\n"), outputs, reference)[0] == "traceback"
    assert compared(Ended(-9, "", hung=True), outputs, reference)[0] == "hang"


@pytest.mark.timeout(300)
def test_a_launch_that_hangs_is_ended(work: Work) -> None:
    stuck = launch(["--version"], lambda pid: None, limit=60.0)
    assert (stuck.code, stuck.hung) == (0, False)
    outputs = work.fresh(98)
    ended = launch(command("grpo", outputs), limit=0.1)
    assert ended.hung and ended.code == -9
    shutil.rmtree(outputs)


@pytest.mark.parametrize("how", HOW)
def test_every_kind_of_damage_damages(how: str, tmp_path: Path) -> None:
    path, data = tmp_path / "file", bytes(range(64))
    path.write_bytes(data)
    harm(path, how, random.Random(0))
    assert not path.is_file() or path.read_bytes() != data
    assert path.exists() is (how != "delete") and path.is_dir() is (how == "directory")


def test_the_table_counts_faults_and_says_what_did_not_survive() -> None:
    rows = [
        campaign.Verdict("kill", 0, "grpo", "identical", faults=3),
        campaign.Verdict("kill", 1, "ppo", "wrong number"),
        campaign.Verdict("damage", 2, "flip", "named"),
    ]
    assert campaign.markdown(rows).splitlines()[2:] == [
        "| kill | 4 | 2 | 1 (1 identical) | 1 (1 wrong number) |",
        "| damage | 1 | 1 | 1 (1 named) | 0 |",
    ]
    asked = argparse.Namespace(minutes=5.0, seed=9, only=None)
    record = campaign.written(rows, {}, asked, 5.04)
    assert record["command"] == "python -m tests.campaign --minutes 5 --seed 9"
    assert record["faults"] == 5 and record["kinds"]["kill"] == {
        "faults": 4,
        "rounds": 2,
        "outcomes": {"identical": 1, "wrong number": 1},
    }
    assert [row["what"] for row in record["not_survived"]] == ["ppo"]
