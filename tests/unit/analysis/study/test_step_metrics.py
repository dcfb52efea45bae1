"""metrics.jsonl into one frame: fast where lines are plain, and to the line where they are not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from analysis.study.load import load_study
from analysis.study.step_metrics import read_steps

GOOD = '{"step": 1, "reward": 0.5, "updates": 1}\n{"step": 2, "reward": 1, "updates": 1}\n'


def write(folder: Path, name: str, text: str) -> tuple[Path, dict[str, str]]:
    path = folder / f"{name}.jsonl"
    path.write_text(text)
    return path, {"run_id": name, "arm": "a"}


def test_values_are_those_of_the_lines(tmp_path: Path) -> None:
    first = write(tmp_path, "x", GOOD)
    second = write(tmp_path, "y", '{"step": 1, "kl": 0.25}\n\n{"step": 2, "reward": 3}\n')
    frame, damaged = read_steps([first, second])
    assert damaged == []
    assert frame["step"].tolist() == [1, 2, 1, 2]
    assert frame["reward"].fillna(-1).tolist() == [0.5, 1.0, -1.0, 3.0]
    assert frame["kl"].fillna(-1).tolist() == [-1, -1, 0.25, -1]
    assert frame["run_id"].tolist() == ["x", "x", "y", "y"]


def test_nan_written_as_text_is_a_number_again(tmp_path: Path) -> None:
    rows = [{"step": 1, "reward": "nan", "kl": 1.0}, {"step": 2, "reward": "-inf"}]
    path = write(tmp_path, "x", "".join(json.dumps(r) + "\n" for r in rows))
    frame, damaged = read_steps([path, write(tmp_path, "y", GOOD)])
    assert damaged == [] and len(frame) == 4
    assert math.isnan(frame["reward"][0]) and frame["reward"][1] == -math.inf
    assert frame["reward"].dtype == float


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"step": 1}\n{"step": 2, "rew\n{"step": 3}\n', ":2: EOF while parsing a string"),
        ('{"step": 1}\n[1, 2]\n', ":2: not a JSON object"),
        ('{"step": 1}{"step": 2}\n{"step": 3}\n', ":1: trailing characters"),
        ('{"step": 1}\nnull\n', ":2: not a JSON object"),
        ("null", ":1: not a JSON object"),  # pyarrow's reader ended the process here
        ("[" * 100_000, ":1: recursion limit exceeded"),
        ('{"step": 1}\n{"step": ' + "9" * 5000 + "}\n", ":2: number out of range"),
        ('{"step": 1}\n{"step": 2, "reward": ' + "9" * 400 + "}\n", ": a number that is too large"),
        ('{"step": 1}\n{"step": 2, "reward": "high"}\n', ":2: reward: 'high' is no number"),
        ('{"step": 1}\n{"step": 2, "reward": [1]}\n', ":2: reward: [1] is no number"),
        ('{"step": 1}\n{"step": "2"}\n', ":2: step: '2' is no number of a step"),
        ('{"reward": 1}\n', ":1: step: None is no number of a step"),
        ('{"step": 2}\n{"step": 2}\n', ": step 2 stands after step 2"),
        ('{"step": 2}\n{"step": 1}\n', ": step 1 stands after step 2"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path: Path, text: str, where: str) -> None:
    bad = write(tmp_path, "bad", text)
    frame, (said,) = read_steps([bad, write(tmp_path, "good", GOOD)])
    assert said.startswith(f"{bad[0]}{where}") and "launch the run again to train it anew" in said
    assert frame["run_id"].tolist() == ["good", "good"]


def test_a_last_line_cut_short_is_left_out(tmp_path: Path) -> None:
    frame, damaged = read_steps([write(tmp_path, "x", GOOD + '{"step": 3, "rew')])
    assert damaged == [] and frame["step"].tolist() == [1, 2]


def test_a_missing_or_empty_file_has_no_rows(tmp_path: Path) -> None:
    frame, damaged = read_steps([(tmp_path / "none.jsonl", {"run_id": "x"}), write(tmp_path, "y", "")])
    assert len(frame) == 0 and damaged == []


def test_memory_does_not_grow_with_the_samples(make_study) -> None:
    """Completions are read one at a time: their files can be anything, and loading never opens them."""
    folder = make_study(seeds=1, models=("xs",))
    for path in folder.glob("*/eval/*/*.json"):
        path.with_suffix(".samples.jsonl.gz").write_bytes(b"not gzip, and never read")
    study = load_study(folder)
    assert len(study.evaluations) == 16 and study.damaged == []
