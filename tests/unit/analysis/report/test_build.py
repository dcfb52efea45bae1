"""From a study's folder to its report, against numbers computed from the same files by other means."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as sps

from analysis.__main__ import main
from analysis.report.build import build_report, markdown
from analysis.report.content import Report, status_line
from analysis.report.findings import finding
from analysis.report.page import html
from analysis.stats.text import interval_text, p_equals, points
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.headlines import headlines
from analysis.study.load import load_study
from analysis.tables.arms import arm_table
from analysis.tables.table import Table
from harness.records import records
from tests.unit.analysis.conftest import run_record, write_run

TREATED, CONTROL = "objective=grpo model=xs", "objective=sft_rejection model=xs"


def _rates(study: Path, objective: str, model: str, split: str = "test") -> list[float]:
    """Per seed, straight from the JSON."""
    found = []
    for folder in sorted(study.glob(f"{objective}-{model}-s*")):
        record = json.loads(next(folder.glob(f"eval/step_*/aime_gen_{split}.json")).read_text())
        found.append(np.mean(record["correct"]))
    return found


def arms_of(report: Report) -> Table:
    return next(table for table in report.tables if table.name == "arms")


def test_arm_results_agree_with_scipy(make_study) -> None:
    folder = make_study(seeds=4)
    study = load_study(folder)
    primary = primary_of(study)
    result = {r.label: r for r in arm_results(study, primary)}[TREATED]
    ours, theirs = _rates(folder, "grpo", "xs"), _rates(folder, "sft_rejection", "xs")
    test = sps.ttest_rel(ours, theirs)
    assert result.control == CONTROL
    assert result.estimate.estimate == pytest.approx(np.mean(ours))
    assert result.difference.p_value == pytest.approx(test.pvalue)
    assert result.difference.low == pytest.approx(test.confidence_interval().low)
    # Two differences (xs, s) in the family: Holm doubles the smaller p and keeps the order.
    p = [r.difference.p_value for r in arm_results(study, primary) if r.control]
    holm = [r.p_holm for r in arm_results(study, primary) if r.control]
    assert min(holm) == pytest.approx(min(1, 2 * min(p)))
    assert result.choice.estimate + result.skill.estimate == pytest.approx(result.gain.estimate)


def test_the_headline_averages_over_the_other_factor(make_study) -> None:
    folder = make_study(seeds=3)
    study = load_study(folder)
    (headline,) = headlines(study, primary_of(study))
    cells = [np.subtract(_rates(folder, "grpo", m), _rates(folder, "sft_rejection", m)) for m in ("xs", "s")]
    assert (headline.level, headline.control, headline.cells) == ("grpo", "sft_rejection", 2)
    assert headline.difference.p_value == pytest.approx(sps.ttest_1samp(np.mean(cells, axis=0), 0).pvalue)
    helped, text, sure = build_report(study, figures=False).answers[:3]
    assert (
        helped.startswith("Did training help? sft_rejection ") and "at temperature 1 over its base" in helped
    )
    assert points(headline.difference.estimate) in text and "three seeds" in text
    assert ", averaged over 2 settings of the other factors, this study cannot tell" in text
    assert sure.startswith("How sure? 3 seeds, 20 problems; brackets are 95 % intervals over training and")


def test_frames_are_tidy(make_study) -> None:
    study = load_study(make_study(seeds=2))
    assert len(study.runs) == 8
    assert len(study.steps) == 8 * 6
    assert len(study.evaluations) == 8 * 4 * 2  # four splits, at the base and at the last step
    assert set(study.evaluations["step"]) == {0, 6}


def test_two_seeds_give_no_interval_and_say_so(make_study) -> None:
    report = build_report(load_study(make_study(seeds=2)), figures=False)
    assert "two seeds. Measured: " in report.answers[1]
    assert "without an interval (2 seeds: 3 are needed" in report.answers[1]
    assert "[" not in arms_of(report).cells[1][2]


def test_nothing_is_dropped(make_study) -> None:
    folder = make_study(seeds=4)
    (folder / "grpo-xs-s0-abcd" / "run.json").write_text("{broken")
    for seed, status in ((1, "failed"), (2, "running")):
        write_run(
            folder, run_record(f"grpo-xs-s{seed}-abcd", "grpo", "xs", seed, status=status, reason="why"), 0.7
        )
    missing = folder / "grpo-s-s3-abcd"
    missing.rename(folder.parent.parent / "elsewhere")
    (folder / "grpo-s-s0-abcd" / "metrics.jsonl").write_text("[]\n{}\n")
    study = load_study(folder)
    assert status_line(study) == "16 runs, 12 finished, 1 damaged, 1 failed, 1 running, 1 missing"
    report = build_report(study, figures=False)
    notes = "\n".join(report.notes)
    for word in (
        "grpo-xs-s0-abcd is damaged",
        "is failed: why",
        "is running",
        "grpo-s-s3-abcd is missing",
        "metrics.jsonl:1",
        "no finished run for seed 0, 1, 2",
    ):
        assert word in notes
    assert arms_of(report).cells[1][5] == "1"  # the one finished seed still has its row
    write_run(folder, run_record("grpo-xs-s9-old", "grpo", "xs", 9), 0.7)  # of an earlier launch
    assert status_line(load_study(folder)).endswith("1 missing; 1 more in no arm of the study")


def test_many_runs_that_were_not_started_are_counted_by_seed(make_study) -> None:
    folder = make_study(seeds=5)  # two models x two objectives
    for path in [*folder.glob("*-s4-abcd"), *folder.glob("grpo-xs-s3-abcd")]:
        path.rename(folder.parent.parent / path.name)
    notes = build_report(load_study(folder), figures=False).notes
    assert "5 of 20 planned runs were not started: 4 of seed 4, 1 of seed 3" in notes
    assert not any("is missing" in note for note in notes)


def test_figures_of_a_task_say_that_its_problems_are_generated(make_study) -> None:
    report = build_report(load_study(make_study(models=("xs",))))
    captions = {figure.name: figure.caption for figure in report.figures}
    for name in ("checkpoints", "anatomy", "problems"):
        assert "on aime_gen_test (generated problems)" in captions[name].replace("On ", "on ")


def test_direct_answers_that_got_better_are_not_called_derivations(make_study) -> None:
    """The second part of a gain holds both kinds, so its name must not claim one of them."""
    report = build_report(load_study(make_study(models=("xs",))))
    (table,) = (t for t in report.tables if t.name == "decomposition")
    (figure,) = (f for f in report.figures if f.name == "decomposition")
    named = [*table.columns, *dict.fromkeys(row["series"] for row in figure.rows)]
    assert named.count("from accuracy given the kind") == 2 and not any("better" in name for name in named)
    assert "of answers without a step too" in table.note


def test_dead_arms_are_flagged(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    for seed in range(3):
        record = run_record(f"grpo-xs-s{seed}-abcd", "grpo", "xs", seed, flags=["no_reward_variance"])
        write_run(folder, record, 0.0)
    report = build_report(load_study(folder), figures=False)
    flags = arms_of(report).cells[1][6]
    assert "no reward variance" in flags and "not above the best constant answer" in flags
    assert any(TREATED in line and "no reward variance" in line for line in report.answers)


def test_undeclared_config_difference_is_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    path = folder / "grpo-xs-s0-abcd" / "run.json"
    record = json.loads(path.read_text())
    record["config"]["trainer"]["lr"] = 1e-3
    path.write_text(json.dumps(record))
    notes = build_report(load_study(folder), figures=False).notes
    assert any("more than the declared factor: trainer.lr" in note for note in notes)


def test_without_study_json_arms_come_from_configs(make_study) -> None:
    folder = make_study(seeds=3)
    (folder / "study.json").unlink()
    study = load_study(folder)
    assert {a.label for a in study.record.arms} >= {"model.name=xs objective=grpo".replace(".name", "")}
    assert len(study.record.arms) == 4 and len(study.evaluations)
    assert any("no readable study.json" in note for note in build_report(study, figures=False).notes)


def test_a_run_without_evaluation_is_said(make_study, tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "bare"
    records.write_record(folder / "a" / "run.json", run_record("a", "grpo", "xs", 0, status="running"))
    report = build_report(load_study(folder), figures=False)
    assert "No answer yet" in report.answers[0]
    assert "a is running" in "\n".join(report.notes)


def test_html_is_self_contained_and_escaped(make_study) -> None:
    folder = make_study(seeds=3)
    path = folder / "study.json"
    record = records.read_study(folder)
    record.question = "<script>alert(1)</script> & <img src=x onerror=alert(2)>?"
    records.write_record(path, record)
    report = build_report(load_study(folder))
    page = html(report)
    assert "<script>" not in page and "<img" not in page  # its own scripts carry a nonce or a type
    assert "&lt;script&gt;alert(1)" in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]+"', page)  # references stay within the page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(report.figures) >= 5
    assert page.count("<svg ") == 2 * len(report.figures)  # for wide and for narrow screens
    assert {"arms", "measures", "splits", "runs"} <= set(ids)
    assert "mathdefault" not in page
    assert "|---|" in markdown(report).replace(" ", "")


def test_report_is_the_same_twice(make_study) -> None:
    study = load_study(make_study(seeds=3, models=("xs",)))
    first, second = (build_report(study).figures[0] for _ in range(2))
    assert first.svg == second.svg and first.png == second.png
    assert html(build_report(study, figures=False)) == html(build_report(study, figures=False))


def test_commands(make_study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(seeds=3)
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert TREATED in out and "report.html" in out
    written = {p.name for p in (folder / "report").iterdir()}
    assert {"report.html", "report.md", "arms.csv", "figures"} <= written
    rows = list(csv.DictReader((folder / "report" / "arms.csv").open()))
    assert float(rows[1]["estimate"]) == pytest.approx(np.mean(_rates(folder, "grpo", "xs")))
    drawn = {p.suffix: p.read_bytes()[:4] for p in (folder / "report" / "figures").glob("learning_curves.*")}
    assert drawn == {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert len(load_study(folder).runs) == 12  # the report's own folder is no run
    assert "12 runs, 12 finished" in _out(capsys, ["list", str(folder.parent)])
    assert r"\toprule" in _out(capsys, ["table", str(folder), "--format", "latex"])
    assert "no spread" in _out(capsys, ["compare", str(folder), str(folder)])
    # Effect of one sd of the differences, power 0.8: 10 seeds (Cohen's tables; statsmodels solves 9.94).
    assert _out(capsys, ["power", "--sd", "3", "--effect", "3"]).startswith("10 seeds")


def _out(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["report", "nowhere"], "nowhere: no such folder"),
        (["report", "."], "holds no runs"),
        (["list", "."], "holds no studies"),
        (["power", "--sd", "3"], "give --effect"),
        (["power", "--sd", "0", "--seeds", "3"], "--sd 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_newer_study_and_an_unknown_table_are_refused(make_study, capsys) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert main(["table", str(folder), "--name", "nope"]) == 2
    assert "arms" in capsys.readouterr().err
    record = json.loads((folder / "study.json").read_text()) | {"schema_version": 99}
    (folder / "study.json").write_text(json.dumps(record))
    assert main(["report", str(folder)]) == 2
    assert "newer" in capsys.readouterr().err


def test_declared_primary_is_used_or_refused(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    record = records.read_study(folder)
    record.primary = {"factor": "objective", "metric": "greedy", "split": "heldout"}
    records.write_record(folder / "study.json", record)
    assert primary_of(load_study(folder)).task == "aime_gen_heldout"
    record.primary = {"metric": "vibes"}
    records.write_record(folder / "study.json", record)
    with pytest.raises(ValueError, match="'vibes' is not known"):
        primary_of(load_study(folder))


def test_latex_and_markdown_escape_what_they_must(make_study) -> None:
    study = load_study(make_study(seeds=3, models=("xs",)))
    primary = primary_of(study)
    table = arm_table(study, primary, arm_results(study, primary))
    table.cells[0][0] = "a|b <i> 50%_"
    assert r"a\|b &lt;i> 50%_" in table.markdown()
    assert r"50\%\_" in table.latex()


def test_numbers_as_text() -> None:
    assert [p_equals(p) for p in (0.0004, 0.0314, 1.0)] == ["p < 0.001", "p = 0.031", "p = 1.000"]
    assert points(0.1234) == "12.3"
    assert points(-0.05, signed=True) == "−5.0"
    assert points(-0.0001, signed=True) == "0.0"
    assert points(None) == interval_text(None) == "—"


def test_help_is_light() -> None:
    code = "import sys, analysis.__main__, analysis.study.load, analysis.report.build\n"
    heavy = ("torch", "vllm", "wandb", "pandas", "altair", "vl_convert", "scipy")
    code += f"print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "analysis", "--help"], capture_output=True, check=True)
    assert time.perf_counter() - start < 5  # measured 0.1–0.2 s; the bound only catches a heavy import


def test_levels_of_a_study_are_named_in_the_answer(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    answer = build_report(load_study(folder), figures=False).answers[1]
    assert "cannot tell objective=grpo from objective=sft_rejection: three seeds" in answer


def test_one_description_gives_every_form(make_study, capsys) -> None:
    study = load_study(make_study(seeds=3, models=("xs",)))
    primary = primary_of(study)
    table = arm_table(study, primary, arm_results(study, primary))
    table.cells[0][0] = "[<b>&~^|\\_"
    latex = table.latex()
    row = r"{}[\textless{}b\textgreater{}\&\textasciitilde{}\textasciicircum{}\textbar{}\textbackslash{}\_ & "
    assert row in latex and latex.count(r"\begin") == latex.count(r"\end") == 2
    assert "<td>[&lt;b&gt;&amp;~^|\\_</td>" in table.html() and "<b>" not in table.html()
    assert table.wandb() == {"columns": table.columns, "data": table.cells}
    assert len(list(csv.DictReader(table.csv().splitlines()))) == len(table.cells)
    assert {"sampled tokens", "FLOPs", "GPU-seconds"} <= set(table.columns)


def test_an_interval_for_new_problems_that_is_much_wider_is_explained(make_study) -> None:
    """Seeds differ in one sample; the arms in all four of ten problems, for better and for worse."""
    folder = make_study(models=("xs",))
    right = {"sft_rejection": [1] * 10 + [0] * 10, "grpo": [0] * 6 + [1] * 14}
    for arm, found in right.items():
        for i, path in enumerate(sorted(folder.glob(f"{arm}-*/eval/step_*/aime_gen_test.json"))):
            record = json.loads(path.read_text())
            correct = [[value] * 4 for value in found]
            correct[-1][-1] = int(i == 0 or arm == "sft_rejection")
            answers = [["right" if value else "wrong" for value in row] for row in correct]
            path.write_text(json.dumps(record | {"correct": correct, "answers": answers}))
    said = [line for s in build_report(load_study(folder), figures=False).sections for line in s.text]
    (line,) = [text for text in said if text.startswith("Much wider than the primary interval")]
    assert "objective=grpo model=xs (" in line and "a claim about more problems of these families" in line


def test_a_declared_contrast_is_answered_and_the_other_levels_are_listed(make_study) -> None:
    folder = make_study(models=("xs",))
    record = json.loads((folder / "study.json").read_text())
    runs = {seed: name.replace("grpo", "other") for seed, name in record["arms"][1]["runs"].items()}
    for seed, name in runs.items():
        write_run(folder, run_record(name, "other", "xs", int(seed)), 0.5)
    record["factors"]["objective"].append("other")
    other = {"label": "other", "levels": {"objective": "other", "model": "xs"}, "runs": runs}
    record["arms"].append({**record["arms"][1], **other})
    record["primary"] = {"factor": "objective", "contrast": "grpo"}
    (folder / "study.json").write_text(json.dumps(record))
    study = load_study(folder)
    first, second = build_report(study, figures=False).answers[1:3]
    shown = {h.level: interval_text(h.difference, signed=True) for h in headlines(study, primary_of(study))}
    assert "objective=grpo" in first and "other" not in first
    listed = f"other {shown['other']}, cannot tell"
    assert second == f"The other levels against sft_rejection, points: {listed}."
    record["arms"] = [arm for arm in record["arms"] if arm["levels"]["objective"] != "grpo"]
    record["factors"]["objective"].remove("grpo")
    record["declared"] = {"absent": {"objective": ["grpo"]}}
    (folder / "study.json").write_text(json.dumps(record))
    report = build_report(load_study(folder), figures=False)
    assert report.answers[1] == (
        "No answer yet: the declared contrast grpo − sft_rejection of objective was not run."
    )
    assert report.answers[2] == second
    assert "of the declared levels of objective not run: grpo" in report.notes
    study = load_study(folder)
    found = finding(study, primary_of(study), arm_results(study, primary_of(study)))["answer"]
    assert found.startswith("no answer yet: the declared contrast grpo − sft_rejection was not run; avg@4")
    record["arms"] = record["arms"][1:]  # the control was not run: no arm is one
    (folder / "study.json").write_text(json.dumps(record))
    assert arms_of(build_report(load_study(folder), figures=False)).cells[0][2] == "—"
