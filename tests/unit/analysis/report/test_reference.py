"""A study's committed version: complete, small, and enough to compute the table again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.report import reference
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from harness.records import records

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, study_templates) -> tuple[Path, Path]:
    """The study's folder and its reference, whose damaged run left a folder without a record."""
    import shutil

    root = tmp_path_factory.mktemp("reference")
    study = shutil.copytree(study_templates(3, ("xs",)), root / "outputs") / "toy"
    record = records.read_study(study)
    record.command += f" output_dir={root}/outputs seed=0"
    record.arms[0].overrides.append(f"output_dir={root}/outputs")
    record.arms[0].runs["7"] = "planned"
    calibration = {"rows": [{"coverage": 0.95, "fwer": 0.04, "n": 10}]}
    (study / "calibration.json").write_text(json.dumps(calibration))
    record.pilot = [{"arm": "a", "chosen": 1e-4, "tried": {"1e-4": {"100": 0.5}, "1e-3": {"100": 0.4}}}]
    records.write_record(study / "study.json", record)
    assert main(["report", str(study), "--reference", str(root / "reference" / "toy")]) == 0
    return study, root / "reference" / "toy"


def rows(path: Path) -> list[dict[str, str]]:
    whole = path.read_bytes()
    text = gzip.decompress(whole) if path.suffix == ".gz" else whole
    return list(csv.DictReader(io.StringIO(text.decode())))


def test_the_primary_difference_can_be_computed_again_from_what_is_committed(written) -> None:
    study = load_study(written[0])
    primary = primary_of(study)
    (treated,) = [r for r in arm_results(study, primary) if r.control]
    found: dict[tuple[str, str], float] = {
        (r["arm"], r["seed"]): float(r["avg"])
        for r in rows(written[1] / "evaluations.csv.gz")
        if r["task"] == primary.task and r["step"] == "6"
    }
    pairs = [(found[treated.label, s], found[treated.control, s]) for s in treated.seeds]
    assert np.mean([a - b for a, b in pairs]) == pytest.approx(treated.difference.estimate, abs=1e-5)
    counts = {
        (r["arm"], r["seed"]): sum(map(int, r["right"].split())) / 20 / int(r["k"])
        for r in rows(written[1] / "problems.csv")
        if r["step"] == "6"
    }
    assert counts == pytest.approx(found, abs=1e-5)


def test_a_line_a_run_and_the_shared_settings_are_its_whole_config(written) -> None:
    study, folder = written
    packed = (folder / "runs.jsonl.gz").read_bytes()
    lines = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    shared = json.loads((folder / "config.json").read_text())
    assert {line["run_id"]: line["status"] for line in lines}["planned"] == "missing"
    for line in lines:
        if line["status"] == "finished":
            whole = load_study(study).configs[line["run_id"]]
            assert shared | line["config"] == {k: v for k, v in whole.items() if k != "output_dir"}
            assert line["seconds"] == {"train": 3.0, "sample": 2.0} and line["base_seconds"] == 0
            assert line["commit"] == "c0ffee0123456789"
    assert "objective.name" not in shared and shared["trainer.lr"] == 3e-4


def test_what_made_it_what_varies_and_the_pilot_are_there(written) -> None:
    folder = written[1]
    made = json.loads((folder / "provenance.json").read_text())
    assert made["commit"] == "c0ffee0123456789" and made["hardware"]["device"] == "cpu"
    assert made["bases_from"] == "one base for all seeds" and "problems are fixed" in made["what_varies"]
    assert made["runs"] == {"finished": 6, "missing": 1} and made["seconds_of_all_runs"] == 30
    (base,) = made["bases"]
    assert (base["base_id"], base["num_non_embedding_parameters"]) == ("base-xs", 10**5)
    assert json.loads((folder / "study.json").read_text())["pilot"][0]["chosen"] == 1e-4
    assert len(rows(folder / "learning_rates.csv")) == 2
    assert (folder / "figures" / "learning_rates.png").exists()
    assert json.loads((folder / "calibration.json").read_text())["rows"][0]["n"] == 10
    curve = rows(folder / "curves.csv")
    assert json.loads((folder / "finding.json").read_text())["seeds"] == 3
    assert len(curve) == 2 * 6 and curve[0]["seeds"] == "3"


def test_no_file_names_this_machine_or_holds_a_completion_and_every_link_leads_somewhere(written) -> None:
    study, folder = written
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            packed = path.suffix == ".gz"
            text = gzip.decompress(path.read_bytes()).decode() if packed else path.read_text()
            assert str(study.parent) not in text and "output_dir=" not in text, path
    text = (folder / "report.md").read_text()
    assert "seed=0" in text and "generated problems" in text
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", text))
    assert linked == {f"figures/{p.name}" for p in (folder / "figures").iterdir()} and linked
    assert not list(folder.rglob("*.samples*"))


def test_too_large_names_the_largest_files_and_writes_nothing(
    written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    command = ["report", str(written[0]), "--out", str(tmp_path / "r"), "--reference"]
    monkeypatch.setattr(reference, "MAX_BYTES", 20_000)
    assert main([*command, str(tmp_path / "reference" / "toy")]) == 2
    said = capsys.readouterr().err
    largest = max(written[1].rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    assert f"{largest.name} " in said.replace("figures/", "") and "20,000 at most for one study" in said
    assert not (tmp_path / "reference").exists()
    monkeypatch.setattr(reference, "MAX_BYTES", 10**6)
    monkeypatch.setattr(reference, "MAX_BYTES_OF_ALL", 200_000)
    (tmp_path / "reference" / "other").mkdir(parents=True)
    (tmp_path / "reference" / "other" / "a.csv").write_bytes(b"0" * 190_000)
    assert main([*command, str(tmp_path / "reference" / "toy")]) == 2
    assert "with this study, 200,000 at most" in capsys.readouterr().err


def test_figures_can_be_chosen_and_old_ones_go(written, tmp_path: Path, capsys) -> None:
    command = ["report", str(written[0]), "--out", str(tmp_path / "r"), "--reference", str(tmp_path / "toy")]
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "retired.csv").write_text("a table that reports had")
    for asked in ("compute,anatomy", "compute"):
        assert main([*command, "--figures", asked]) == 0
    assert not (tmp_path / "toy" / "retired.csv").exists()
    assert [p.name for p in (tmp_path / "toy" / "figures").iterdir()] == ["compute.png"]
    assert main([*command, "--figures", "cmpute"]) == 2
    assert "--figures cmpute: no such figure here; choose of" in capsys.readouterr().err


def test_own_words_stand_in_the_report_and_in_its_command(written, tmp_path: Path) -> None:
    command = ["report", str(written[0]), "--out", str(tmp_path / "r"), "--reference", str(tmp_path / "toy")]
    assert main([*command, "--figures", "compute", "--note", "seed 7: the host's time was up"]) == 0
    assert "- seed 7: the host's time was up" in (tmp_path / "toy" / "report.md").read_text()
    made = json.loads((tmp_path / "toy" / "provenance.json").read_text())["report_command"]
    assert shlex.split(made)[-2:] == ["--note", "seed 7: the host's time was up"]


def test_an_unfinished_study_is_no_reference(make_study, tmp_path: Path, capsys) -> None:
    study = make_study(seeds=1, models=("xs",))
    for path in study.glob("*/run.json"):
        path.write_text(path.read_text().replace('"finished"', '"failed"', 1))
    assert main(["report", str(study), "--reference", str(tmp_path / "toy")]) == 2
    assert "no run is finished" in capsys.readouterr().err and not (tmp_path / "toy").exists()


def test_what_is_committed_is_small() -> None:
    for folder in (ROOT / "outputs" / "reference").iterdir():
        assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) <= reference.MAX_BYTES, folder
    files = [p for p in (ROOT / "outputs" / "reference").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= reference.MAX_BYTES_OF_ALL
