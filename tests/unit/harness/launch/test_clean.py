"""Removing failed runs: what goes, what stays, and that nobody is taken by surprise."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.launch import clean
from harness.launch.run import main
from harness.records.locks import hold
from harness.records.records import write_record
from tests.unit.harness.launch.test_measured import run_record

STATES = {"a": "failed", "b": "finished", "c": "interrupted", "d": "running", "e": "failed"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs" / "s"
    for name, status in STATES.items():
        reason = f"ValueError: \x1b[31m{'long ' * 30}" if status == "failed" else None
        write_record(folder / name / "run.json", run_record(run_id=name, status=status, reason=reason))
        (folder / name / "checkpoints").mkdir()
        (folder / "logs").mkdir(exist_ok=True)
        (folder / "logs" / f"{name}.txt").write_text("log")
    return folder


def asked(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    questions: list[str] = []

    def reply(question: str) -> str:
        questions.append(question)
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", reply)
    return questions


def runs(study: Path) -> list[str]:
    return sorted(path.parent.name for path in study.glob("*/run.json"))


def test_failed_runs_go_once_it_was_asked(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = asked(monkeypatch, "y")
    assert main(["clean", str(study)]) == 0
    said = capsys.readouterr().out
    assert runs(study) == ["b", "c", "d"]
    assert sorted(path.stem for path in (study / "logs").iterdir()) == ["b", "c", "d"]
    assert not list(study.glob(".*")), "what was renamed is removed"
    assert len(questions) == 1 and questions[0].startswith(f"remove 2 failed runs of {study} (")
    assert "2 of 2 failed runs removed" in said and "\x1b" not in said
    assert max(map(len, said.splitlines()[:2])) <= 80 and said.startswith("a  ValueError: ")
    assert main(["clean", str(study)]) == 0
    assert "no failed run" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["", "n", "no", "yess"])
def test_any_other_answer_leaves_everything(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    asked(monkeypatch, answer)
    assert main(["clean", str(study)]) == 0
    assert runs(study) == list("abcde") and "nothing removed" in capsys.readouterr().out


def test_nobody_to_ask_is_a_refusal(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert main(["clean", str(study)]) == 2
    assert "--yes removes them without asking" in capsys.readouterr().err and runs(study) == list("abcde")
    assert main(["clean", "s", "--outputs", str(study.parent), "--yes"]) == 0
    assert runs(study) == ["b", "c", "d"]


def test_a_run_that_is_held_or_launched_again_stays(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = clean.failed_runs

    def then_launched(folder: Path) -> object:
        found = original(folder)
        write_record(folder / "e" / "run.json", run_record(run_id="e", status="running"))
        return found

    monkeypatch.setattr(clean, "failed_runs", then_launched)
    with hold(study / "a"):
        assert main(["clean", str(study), "-y"]) == 0
    captured = capsys.readouterr()
    assert runs(study) == list("abcde") and "0 of 2 failed runs removed" in captured.out
    assert "a is held by process" in captured.err and "e: launched again meanwhile" in captured.err


def test_a_damaged_record_stays_and_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "a" / "run.json").write_text("{")
    assert main(["clean", str(study), "-y"]) == 0
    assert (study / "a").exists() and not (study / "e").exists()
    assert str(study / "a" / "run.json") in capsys.readouterr().err


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", str(tmp_path), "-y"]) == 2
    assert "no study with runs there" in capsys.readouterr().err
