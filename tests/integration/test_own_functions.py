"""The worked example of harness/README.md, run as it is written there, and functions that go wrong."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from harness.launch.run import main

README = Path(__file__).resolve().parents[2] / "harness" / "README.md"
_SECTION = README.read_text(encoding="utf-8").split("### Functions of your own")[1].split("\n### ")[0]
EXAMPLE = re.findall(r"```python\n# mine.py\n(.*?)```", _SECTION, re.DOTALL)[0]
COMMANDS = [line for line in _SECTION.splitlines() if line.startswith("python -m harness")]
REWARD = "objective.reward.custom"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(EXAMPLE)
    return tmp_path


def _arguments(command: str, *others: str) -> list[str]:
    return [*shlex.split(command)[3:], *others]


def _run(folder: Path, study: str) -> Path:
    return next(path for path in (folder / "outputs" / study).iterdir() if (path / "run.json").exists())


def _first_step(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[0])


def test_the_example_has_a_command_for_each_kind() -> None:
    assert [
        any(word in command for command in COMMANDS) for word in ("reward.", "advantage.", "loss.", "data=")
    ]
    assert len(COMMANDS) == 4


def test_a_plan_names_what_differs_and_shows_no_code(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own/ablation").mkdir(parents=True)
    Path("own/ablation/mine.yaml").write_text(
        "# @package _global_\nstudy: mine\ndefaults: [{override /experiment: smoke}]\nablation:\n"
        "  question: Does it?\n  seeds: [0, 1, 2]\n  control: {pay: y}\n"
        f"  factors: {{pay: {{y: [], x: ['{REWARD}={{path: mine.py:brevity, weight: 0.2}}']}}}}\n"
    )
    assert main(["--config-dir=own", "ablation=mine", "--plan"]) == 0
    said = capsys.readouterr().out
    assert f"{REWARD}.sha256: null (y) | " in said and "def brevity" not in said


@pytest.mark.parametrize("place", range(4))
def test_each_command_of_the_example_trains(folder: Path, place: int) -> None:
    assert main(_arguments(COMMANDS[place], "trainer.steps=2", "eval.splits=[test]")) == 0
    run = _run(folder, "smoke")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    given = {**settings["objective"], "data": settings["data"]}
    key = ("reward", "advantage", "loss", "data")[place]
    own = given[key]["function" if key == "data" else "custom"]
    assert own["source"] == EXAMPLE and len(own["sha256"]) == 64
    if key == "data":
        made = json.loads((run / "data.json").read_text())
        assert (made["train"]["num_problems"], made["test"]["num_problems"]) == (32, 8)  # the smoke test's


def test_the_reward_is_the_examples(folder: Path) -> None:
    """Half of a reward for short outputs beside that of the smoke test, readable answers."""
    (folder / "short.py").write_text(
        "def short(*, rollout, grade, problem, most):\n    return len(rollout.completion_ids) <= most\n"
    )
    arguments = [f"{REWARD}={{path: short.py:short, weight: 0.5, params: {{most: 20}}}}", "rollout.keep=16"]
    assert main(["experiment=smoke", "trainer.steps=1", "eval.splits=[test]", *arguments]) == 0
    step = _first_step(_run(folder, "smoke"))
    # 16 outputs; the other term is `inverted`, weight 1: answers that can be read, all of them wrong here
    assert step["accuracy"] == 0
    assert step["reward"] == pytest.approx(step["extracted"] + 0.5 * step["reward_custom"])
    assert 0 < step["reward_custom"] < 1


def test_a_sweep_runs_what_stood_there_at_its_launch(folder: Path) -> None:
    """Its first call, before the launch, breaks the file: the source travels, the file does not."""
    code = (
        "from pathlib import Path\n"
        "def once(*, rollout, grade, problem):\n"
        "    Path('once.py').write_text('raise RuntimeError')\n"
        "    return 1.0 * len(rollout.completion_ids)\n"
    )
    (folder / "once.py").write_text(code)
    arguments = ["experiment=smoke", "trainer.steps=1", "eval.splits=[test]", f"{REWARD}.path=once.py:once"]
    assert main(["-m", *arguments, f"{REWARD}.weight=0.1", "seed=0,1", "hydra.launcher.workers=1"]) == 0
    runs = sorted(p for p in (folder / "outputs" / "smoke").glob("*/run.json"))
    assert [json.loads(p.read_text())["status"] for p in runs] == ["finished", "finished"]
    assert (folder / "once.py").read_text() == "raise RuntimeError"


def test_a_changed_file_is_another_run_and_an_equal_one_is_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def name(path: str = "mine.py", **others: object) -> str:
        params = "".join(f", {key}: {value}" for key, value in others.items())
        given = f"{REWARD}={{path: {path}:brevity, weight: 0.2{params}}}"
        assert main(["experiment=smoke", "--config", given]) == 0
        return capsys.readouterr().out.splitlines()[0]

    first = name()
    (folder / "copy.py").write_text(EXAMPLE)
    assert name("copy.py") == first
    assert name(params="{target: 61}") != first
    (folder / "mine.py").write_text(EXAMPLE + "\n# a comment\n")
    assert name() != first
    assert main(["experiment=smoke", "--config"]) == 0
    assert capsys.readouterr().out.splitlines()[0] != first


def test_a_loss_of_ones_own_that_is_ours_trains_as_ours(folder: Path) -> None:
    """-A log p in the user's file and `policy_gradient` here: the same weights."""
    (folder / "pg.py").write_text(
        "def pg(*, logprobs, ratio, advantages, completion_mask):\n    return -advantages * logprobs\n"
        "def mine(*, rewards, group_ids):\n    return rewards.clone()\n"
    )
    short = [
        "experiment=smoke",
        "objective=pg",
        "objective.kl.coef=0",
        "trainer.steps=2",
        "eval.splits=[test]",
    ]
    ours = ["objective.advantage.fn=raw_reward", "study=ours"]
    own = ["objective.advantage.fn=custom", "objective.advantage.custom.path=pg.py:mine", "study=own"]
    own += ["objective.loss.fn=custom", "objective.loss.custom.path=pg.py:pg"]
    assert main([*short, *ours]) == main([*short, *own]) == 0
    first, second = (
        load_file(next(_run(folder, study).glob("checkpoints/*/model.safetensors")))
        for study in ("ours", "own")
    )
    # Rows without an advantage are computed for an own loss alone, so sums are rounded differently.
    assert all(torch.allclose(first[key], second[key], atol=1e-5) for key in first)
    assert _first_step(_run(folder, "own"))["grad_norm"] > 0.01
