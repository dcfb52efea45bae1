"""Predictions in the official harness's form, and records of its reports. No report of a real run is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import scipy.stats as sps

from analysis.stats.intervals import wilson
from harness.evaluation import swebench
from harness.evaluation.swebench import main, patch_in, problems, prompt_of
from harness.evaluation.swebench_report import TASK, eval_record, patches_of, read_report
from harness.records.records import read_eval

DIFF = "--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"
ISSUE = {"problem_statement": "x must be 2.", "files": {"m.py": "x = 1\n", "pkg/n.py": "y = 1\n"}}
NAMES = [f"owner__repo-{i}" for i in range(8)]


@pytest.mark.parametrize(
    ("completion", "patch"),
    [
        (f"Here:\n```diff\n{DIFF}```\nDone.", DIFF),
        (f"```diff\nold\n```\nBetter:\n```patch\n{DIFF}```", DIFF),  # the last one
        (f"<patch>\n{DIFF}</patch>", DIFF),
        (f"I change x.\n{DIFF}", DIFF),
        (f"diff --git a/m.py b/m.py\n{DIFF}", f"diff --git a/m.py b/m.py\n{DIFF}"),
        (f"<think>```diff\nno\n```</think>```diff\n{DIFF}```", DIFF),
        (f"```diff\n{DIFF}", DIFF),  # cut at the limit
        ("```python\nx = 2\n```", ""),
        ("```diff\n\n```", ""),
        ("", ""),
    ],
)
def test_the_patch_of_a_completion(completion: str, patch: str) -> None:
    assert patch_in(completion) == patch


def test_the_prompt_is_the_rows_own_or_issue_and_files() -> None:
    assert prompt_of({"text": "as it stands", **ISSUE}) == "as it stands"
    text = prompt_of(ISSUE)
    assert "<issue>\nx must be 2.\n</issue>" in text
    assert "<file path='m.py'>\nx = 1\n\n</file>\n\n<file path='pkg/n.py'>" in text
    odd = prompt_of({"problem_statement": "{files}", "files": {"a": "{issue}"}})
    assert (odd.count("{issue}"), odd.count("{files}")) == (1, 1)  # what a file holds is not filled in


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a"}], "line 1: instance_id=None"),
        ([{"instance_id": "a", "text": "t"}, {"instance_id": "a", "text": "t"}], "line 2: instance_id='a'"),
        (
            [{"instance_id": "a", "problem_statement": "p"}],
            "line 1: give `text`, or `problem_statement` with",
        ),
        ([], "no problems there"),
    ],
)
def test_a_bad_row_is_named(
    tmp_path: Path, rows: list[Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "p.jsonl", *rows)
    with pytest.raises(ValueError, match=said):
        problems(path, None)
    arguments = ["predict", "--model", "dummy", "--problems", str(path), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: --problems=")


def test_the_hubs_problems_are_verifieds_with_the_retrieved_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The column of ids of one set chooses the rows of the other."""
    texts = [{"instance_id": name, "text": f"text of {name}"} for name in NAMES]

    def read(hub_id: str, config: None, name: str, remedy: str, **asked: str) -> Any:
        assert asked == {"split": "test"}
        return {"instance_id": NAMES[2:4]} if hub_id == swebench.VERIFIED else texts

    monkeypatch.setattr(swebench, "read_hub", read)
    assert problems(None, None) == {name: f"text of {name}" for name in NAMES[2:4]}
    assert list(problems(None, 1)) == NAMES[2:3]


class Scripted:
    """A model of lm-eval: what it is asked, and a patch for every other problem."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []

    def apply_chat_template(self, history: list[dict[str, str]]) -> str:
        return f"<user>{history[0]['content']}"

    def generate_until(self, requests: list[Any]) -> list[str | None]:
        self.asked += [request.args for request in requests]
        return [f"```diff\n{DIFF}```" if i % 2 == 0 else None for i in range(len(requests))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """Predictions for eight problems at three seeds."""
    model = Scripted()
    monkeypatch.setattr(swebench, "load_lm", lambda *_: model)
    path = write(tmp_path / "p.jsonl", *({"instance_id": name, **ISSUE} for name in NAMES))
    arguments = [
        "predict",
        "--model",
        "hf",
        "--model_args",
        "pretrained=/models/tiny",
        "--problems",
        str(path),
    ]
    arguments += ["--out", str(tmp_path / "swe"), "--seeds", "0,1,2", "--max_new_tokens", "99"]
    assert main([*arguments, "--apply_chat_template"]) == 0
    out = capsys.readouterr().out
    assert out.count("8 problems, 4 without a patch") == 3
    assert (
        "--predictions_path " + str(tmp_path / "swe" / "predictions.seed2.jsonl") + " --run_id seed2" in out
    )
    assert len(model.asked) == 24
    prompt, options = model.asked[0]
    assert prompt == "<user>" + prompt_of(ISSUE)
    assert options == {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "max_gen_toks": 99, "until": []}
    return tmp_path / "swe"


def test_predictions_have_the_harnesss_fields(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "predictions.seed1.jsonl").read_text().splitlines()]
    assert rows[0] == {"instance_id": NAMES[0], "model_name_or_path": "tiny", "model_patch": DIFF}
    assert rows[1] == {"instance_id": NAMES[1], "model_name_or_path": "tiny", "model_patch": ""}
    assert [row["instance_id"] for row in rows] == NAMES


def report(path: Path, resolved: list[str], **changes: Any) -> Path:
    """A report as the harness's make_run_report writes it: empty patches are submitted, not completed."""
    completed, empty = NAMES[::2], NAMES[1::2]
    content = {
        "total_instances": 8,
        "submitted_instances": 8,
        "completed_instances": 4,
        "resolved_instances": len(resolved),
        "unresolved_instances": 4 - len(resolved),
        "empty_patch_instances": 4,
        "error_instances": 0,
        "completed_ids": completed,
        "incomplete_ids": [],
        "empty_patch_ids": empty,
        "submitted_ids": NAMES,
        "resolved_ids": resolved,
        "unresolved_ids": [name for name in completed if name not in resolved],
        "error_ids": [],
        "schema_version": 2,
    }
    path.write_text(json.dumps({**content, **changes}, indent=4))
    return path


def test_reports_become_a_record_with_both_intervals(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2, 1 and 3 of 8: 25 %; Wilson over 8 problems, t over the seeds .25, .125, .375."""
    resolved = [NAMES[0:4:2], NAMES[0:2:2], NAMES[0:6:2]]
    reports = [report(tmp_path / f"tiny.seed{i}.json", names) for i, names in enumerate(resolved)]
    assert main(["read", str(folder), *map(str, reports)]) == 0
    (path,) = (folder / "eval").glob("tiny-*/swebench_verified.json")
    record = read_eval(path)
    assert (record.task, record.k, record.n_problems, record.problem_ids) == (TASK, 3, 8, NAMES)
    assert record.correct[:5] == [[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert record.answers[1] == [None] * 3 and record.lengths[0] == [len(DIFF.split())] * 3
    assert set(record.topics) == {"owner/repo"}
    assert record.metrics["avg_at_k"] == pytest.approx(0.25)
    low, high = wilson(0.25, 8)
    assert (record.metrics["wilson_low"], record.metrics["wilson_high"]) == pytest.approx((low, high))
    half = sps.t.ppf(0.975, 2) * 0.125 / 3**0.5
    assert record.metrics["seeds_low"] == pytest.approx(0.25 - half)
    assert record.metrics["seeds_high"] == pytest.approx(0.25 + half)
    assert "resolved 25.0 %, over 8 problems [7.1, 59.1] (Wilson), over 3 seeds [-6.1, 56.1] (t)" in (
        capsys.readouterr().out
    )


def test_problems_without_a_prediction_are_not_resolved(folder: Path, tmp_path: Path) -> None:
    """The harness's share is of all instances, so it is here."""
    more = {"total_instances": 10, "incomplete_ids": ["owner__repo-8", "owner__repo-9"]}
    reports = [report(tmp_path / f"r{i}.json", NAMES[:2:2], **more) for i in range(3)]
    record = eval_record(folder, reports)
    assert (record.n_problems, record.metrics["avg_at_k"]) == (10, pytest.approx(0.1))
    assert "seeds_low" not in record.metrics  # no spread between the seeds


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 1}, "schema_version=1; version 2 is read"),
        ({"total_instances": 500}, "do not add up to total_instances=500"),
        ({"resolved_ids": ["other__repo-1"]}, "do not add up"),
        ({"submitted_ids": None}, "not a report of the official harness"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_report(report(tmp_path / "r.json", NAMES[:1], **changes))


def test_reports_of_other_predictions_are_refused(folder: Path, tmp_path: Path) -> None:
    good = [report(tmp_path / f"r{i}.json", NAMES[:1]) for i in range(2)]
    with pytest.raises(ValueError, match=r"2 reports for seeds=\[0, 1, 2\]"):
        eval_record(folder, good)
    fewer = {"submitted_ids": NAMES[:7], "incomplete_ids": NAMES[7:]}
    other = report(tmp_path / "r2.json", NAMES[:1], **fewer)
    with pytest.raises(ValueError, match="of other problems or predictions"):
        eval_record(folder, [*good, other])
    assert len(patches_of(folder / "predictions.seed0.jsonl")) == 8
