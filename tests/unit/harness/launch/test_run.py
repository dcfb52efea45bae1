"""The command line: exit codes, one line for bad input, and what is imported when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.launch.jobs import Functions
from harness.launch.options import parse_arguments
from harness.launch.run import main

CONF = str(Path(__file__).parent / "conf")
STUBS = Functions(
    execute="tests.unit.harness.stubs:execute", ensure_base="tests.unit.harness.stubs:ensure_base"
)
ROOT = Path(__file__).resolve().parents[4]


def single(folder: Path, *more: str, action: str | None = None) -> int:
    (folder / "behaviour.json").write_text(json.dumps({"-s0-": action} if action else {}))
    common = ["--config-dir", CONF, "model=tiny", "data=tiny", f"output_dir={folder}", "study=s"]
    return main([*common, *more], functions=STUBS)


def test_a_single_run_says_how_it_ended(tmp_path: Path, capsys) -> None:
    assert single(tmp_path, action="fail") == 1
    assert single(tmp_path, action="hold") == 3
    assert "process 12 on host" in capsys.readouterr().err
    assert single(tmp_path) == 0
    assert "training 1/2: accuracy 0.5" in capsys.readouterr().err
    assert single(tmp_path, action="fail") == 0  # finished before: skipped, not run
    assert "skipped: finished" in capsys.readouterr().err


def test_a_launch_says_which_damaged_file_it_mends(tmp_path: Path, capsys) -> None:
    assert single(tmp_path) == 0
    (done,) = (tmp_path / "s").glob("*/eval/*/.done")
    done.write_text("null")
    capsys.readouterr()
    assert single(tmp_path) == 0
    assert (
        f"to be run again: {done}: not a JSON object; its last checkpoint is gone" in capsys.readouterr().err
    )
    assert single(tmp_path) == 0
    assert "skipped: finished" in capsys.readouterr().err


def test_escapes_in_an_error_are_written_out(capsys) -> None:
    assert main(["study=\x1b[31mred"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--pln"], "--pln: no such option; did you mean --plan"),
        (["--config-dir"], "expected one argument"),
        (["--config-dir", "/nowhere"], "--config-dir /nowhere: no such folder"),
        (["objective=gpro"], "objective=gpro: no such option; did you mean"),
        (["-m", "seed=0,1", "hydra.launcher.workers=0"], "hydra.launcher.workers=0"),
        (
            ["-m", "seed=0,1", "hydra.launcher.per_gpu=null"],
            "hydra.launcher.per_gpu=null: input should be a valid integer",
        ),
        (["-m", "seed=0,1", "hydra/launcher=nosuch"], "launchers: process, ray, slurm"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], part: str, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and part in lines[0]
    assert captured.out == "" and list(tmp_path.iterdir()) == []


def test_a_warning_is_said_once(tmp_path: Path, capsys) -> None:
    common = ["--config-dir", CONF, "--plan", "model=tiny", "data=tiny", f"output_dir={tmp_path}"]
    once = ["objective=grpo", "objective.updates.epochs=1", "objective.updates.minibatches=1", "seed=0,1,2"]
    assert main([*common, *once]) == 0
    assert capsys.readouterr().err.count("the clip can never bind") == 1


def test_config_prints_the_resolved_settings_and_the_name(capsys) -> None:
    assert (
        main(["--config", "--config-dir", CONF, "model=tiny", "data=tiny", "seed=7", "base_seed=${seed}"])
        == 0
    )
    said = capsys.readouterr().out
    assert said.startswith("# grpo-tiny-s7-") and "base_seed: 7" in said


IMPORTED = """
import sys
from harness.launch.options import parse_arguments
from harness.launch.run import main
try:
    code = main({arguments!r})
except SystemExit as error:
    code = error.code
heavy = sorted({{"torch", "transformers", "lm_eval", "wandb", "hydra", "pydantic"}} & set(sys.modules))
print(code, *heavy, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "0"),
        (["objective=gpro"], "2 hydra pydantic"),
        (["trainer.steps=0"], "2 hydra pydantic"),
        (["ablation=quickstart", "--plan"], "0 hydra pydantic"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(arguments, expected, tmp_path) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})" + IMPORTED.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stderr.splitlines()[-1] == expected


def test_settings_as_wandbs_agent_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere dashes are an error, being an option's. In a sweep W&B is online unless told otherwise."""
    with pytest.raises(ValueError, match=r"--trainer.lr=0.1: a setting has no dashes: trainer.lr=0.1"):
        parse_arguments(["--trainer.lr=0.1"])
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    assert parse_arguments(["--trainer.lr=0.1", "--seed=1", "--plan"])[1] == ["trainer.lr=0.1", "seed=1"]
    with pytest.raises(ValueError, match="no such option"):
        parse_arguments(["--pln"])
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr("harness.launch.run._answered", lambda *_: 0)
    assert main(["--seed=1"]) == 0 and os.environ.pop("WANDB_MODE") == "online"


def test_a_tracker_that_is_not_installed_stops_the_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.launch.tensorboard.find_spec", lambda name: None)
    assert single(tmp_path, "tracking.also=[tensorboard]") == 2
    assert "TensorBoard is not installed; pip install" in capsys.readouterr().err
    assert not list(tmp_path.glob("s/*/run.json"))
