"""What is wrong with a study is one clear line each, and never a traceback or a silent gap."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.report.build import build_report
from analysis.report.compare import compare_table
from analysis.study.load import load_study


def notes(folder: Path) -> str:
    return "\n".join(build_report(load_study(folder), figures=False).notes)


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_an_empty_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 2
    error = capsys.readouterr().err
    assert "holds no runs; give a study's folder" in error and error.count("\n") == 1


def test_one_seed_has_no_interval_and_says_so(make_study) -> None:
    report = build_report(load_study(make_study(seeds=1)))
    assert "1 seed: 3 are needed for an interval" in report.answers[1]
    assert "this study cannot tell" in report.answers[1] and "one seed" in report.answers[1]
    arms = next(table for table in report.tables if table.name == "arms")
    assert all("[" not in cell for row in arms.cells for cell in row)


def test_a_missing_evaluation_is_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    shutil.rmtree(next((folder / "grpo-xs-s1-abcd" / "eval").iterdir()))
    text = notes(folder)
    assert "grpo-xs-s1-abcd: finished, but its last step was not evaluated on aime_gen_test" in text
    assert text.count("was not evaluated") == 1


def test_a_damaged_evaluation_is_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    (path,) = (folder / "grpo-xs-s1-abcd").glob("eval/*/aime_gen_test.json")
    path.write_text("{")
    text = notes(folder)
    assert f"{path}: not valid JSON" in text and "grpo-xs-s1-abcd: finished, but" in text


def test_mixed_schema_versions_are_said_and_a_newer_run_is_not_guessed_at(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    change(folder / "grpo-xs-s0-abcd" / "run.json", schema_version=0)
    assert "runs come from 2 versions of the records' schema: 0, 1" in notes(folder)
    change(folder / "grpo-xs-s0-abcd" / "run.json", schema_version=99)
    text = notes(folder)
    assert "grpo-xs-s0-abcd is damaged" in text and "schema_version 99 is newer" in text
    assert "no finished run for seed 0" in text


def test_a_run_that_another_commit_began_is_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "begun by another commit" not in notes(folder)
    path = folder / "grpo-xs-s1-abcd" / "run.json"
    change(path, code={**json.loads(path.read_text())["code"], "earlier_commits": ["a" * 40]})
    shutil.rmtree(folder / "grpo-xs-s2-abcd")  # one that was never started has no such list
    assert notes(folder).count("begun by another commit than it ended with") == 1
    assert "grpo-xs-s1-abcd: begun by another commit" in notes(folder)


def test_kinds_of_device_are_said_and_whether_they_part_the_arms(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "kinds of device" not in notes(folder)
    change(folder / "grpo-xs-s0-abcd" / "run.json", hardware={"device": "cuda"})
    assert "2 kinds of device: cpu, cuda" in notes(folder) and "runs of a seed" not in notes(folder)
    for run in folder.glob("*-s0-abcd"):
        change(run / "run.json", hardware={"device": "cuda"})
    assert "cpu, cuda; all runs of a seed are of one" in notes(folder)


def test_several_versions_of_the_grader_are_said(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "grader" not in notes(folder)
    (path,) = (folder / "grpo-xs-s1-abcd").glob("eval/*/aime_gen_test.json")
    change(path, task_version=1.2)
    said = "evaluations come from 2 versions of the grader: 1, 1.2; `python -m harness.evaluation.regrade"
    assert said in notes(folder)


def test_data_may_differ_between_arms_that_ask_for_other_data(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "data versions" not in notes(folder)
    for run in folder.glob("grpo-*"):
        change(run / "run.json", data_hash="other")
    assert "runs come from 2 data versions" in notes(folder)
    study = json.loads((folder / "study.json").read_text())
    for arm in study["arms"]:
        arm["overrides"].append(f"data.num_distinct={8 if 'grpo' in arm['label'] else 32}")
    change(folder / "study.json", arms=study["arms"])
    assert "data versions" not in notes(folder)
    change(folder / "grpo-xs-s1-abcd" / "run.json", data_hash="a third")
    assert "runs come from 2 data versions" in notes(folder)


def test_benchmarks_may_differ_in_k_but_not_one_of_them(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "differ in k" not in notes(folder)
    for path in folder.glob("*/eval/*/aime_gen_heldout.json"):
        record = json.loads(path.read_text())
        lists = ("correct", "answers", "stepped", "num_steps", "num_wrong_steps", "lengths", "truncated")
        change(path, k=2, **{name: [row[:2] for row in record[name]] for name in lists})
    assert "differ in k" in notes(folder)  # their bases have k = 4
    for base in (folder.parent / "bases").glob("*/eval/*/aime_gen_heldout.json"):
        base.unlink()
    assert "differ in k" not in notes(folder)


def test_another_protocol_or_other_problems_in_one_arm_are_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "evaluated on aime_gen_test under" not in notes(folder)
    for path in folder.glob("grpo-*/eval/*/aime_gen_test.json"):
        change(path, temperature=0.6)
    assert "evaluated on aime_gen_test under another protocol than the first arm: objective=grpo" in notes(
        folder
    )
    for path in folder.glob("grpo-*/eval/*/aime_gen_test.json"):
        change(path, temperature=1.0, problem_ids=[f"other-{i}" for i in range(20)])
    text = notes(folder)
    assert "other problems than the first arm: objective=grpo model=xs;" in text and "protocol" not in text


def test_runs_of_one_arm_that_differ_are_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "differ among themselves" not in notes(folder)
    config = json.loads((folder / "grpo-xs-s2-abcd" / "run.json").read_text())["config"]
    change(folder / "grpo-xs-s2-abcd" / "run.json", config=config | {"trainer": {"lr": 1e-3}})
    text = "runs of objective=grpo model=xs differ among themselves in more than seeds: trainer.lr"
    assert text in notes(folder)


def test_a_primary_metric_that_one_run_lacks_costs_that_run_alone(make_study) -> None:
    """In a frame what one record leaves out is NaN, not None: no table may take it for a number."""
    folder = make_study(seeds=4, models=("xs",))
    change(folder / "study.json", primary={"metric": "greedy", "path": ["sft_rejection", "grpo"]})
    (path,) = (folder / "grpo-xs-s1-abcd").glob("eval/*/aime_gen_test.json")
    change(path, greedy_correct=[])
    report = build_report(load_study(folder))
    tables = {t.name: t for t in report.tables}
    arms = tables["arms"].raw.set_index("arm")
    assert arms.loc["objective=grpo model=xs", "seeds"] == 3
    assert "In greedy on aime_gen_test" in report.answers[1]
    assert "nan" not in json.dumps([report.answers, *(t.cells for t in report.tables)]).lower()
    assert "objective=grpo model=xs: greedy was not measured for seed 1" in "\n".join(report.notes)
    again = compare_table(load_study(folder), load_study(folder))
    assert [row[3].split(" ")[0] for row in again.cells] == ["0.0", "0.0"]


def test_a_base_that_was_not_evaluated_is_named(make_study) -> None:
    folder = make_study(seeds=4, models=("xs",))
    assert "no gain over the base" not in notes(folder)
    (folder.parent / "bases" / "base-xs" / "eval" / "base-key2" / "aime_gen_test.json").unlink()
    arms = "objective=sft_rejection model=xs; objective=grpo model=xs"
    why = "no gain over the base, which was not evaluated on aime_gen_test under the same protocol, for"
    assert f"{arms}: {why} seed 2" in notes(folder)
    shutil.rmtree(folder.parent / "bases")
    assert f"{arms}: {why} any seed" in notes(folder)


def test_a_finished_run_whose_metrics_stop_early_is_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "metrics.jsonl" not in notes(folder)
    path = folder / "grpo-xs-s1-abcd" / "metrics.jsonl"
    path.write_text(path.read_text()[:-40])
    assert "grpo-xs-s1-abcd: metrics.jsonl lacks step 6 of 6" in notes(folder)
    path.write_text("")
    assert "grpo-xs-s1-abcd: metrics.jsonl lacks step 1–6 of 6" in notes(folder)
    change(folder / "grpo-xs-s1-abcd" / "run.json", status="running")
    assert "metrics.jsonl" not in notes(folder)


def test_a_printed_table_comes_with_its_cautions(make_study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(seeds=3, models=("xs",))
    (folder / "grpo-xs-s0-abcd" / "run.json").write_text("{")
    assert main(["table", str(folder), "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert "note: grpo-xs-s0-abcd is damaged: " in printed.err and "note" not in printed.out
    assert main(["table", str(folder)]) == 0
    more = "More columns (r1-report table, --format markdown): base, best constant, learning rate"
    assert more in " ".join(capsys.readouterr().out.split())


def test_bases_of_a_folder_without_a_study_file_are_told_apart(make_study) -> None:
    """Two arms on the same bases, one a seed: no shared base, though there are fewer bases than runs."""
    folder = make_study(seeds=3, models=("xs",))
    (folder / "study.json").unlink()
    assert load_study(folder).record.shared_base
    for path in folder.glob("*/run.json"):
        change(path, base_id=f"base-{json.loads(path.read_text())['config']['seed']}")
    assert not load_study(folder).record.shared_base


@pytest.mark.parametrize("effect", ["nan", "inf", "0"])
def test_power_wants_a_difference(effect: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "--sd", "2", "--effect", effect]) == 2
    assert f"--effect {float(effect)}: give the smallest difference" in capsys.readouterr().err


def test_power_wants_more_than_chance_gives(capsys: pytest.CaptureFixture[str]) -> None:
    """No difference at all is found with probability alpha, so 0.05 of power needs no difference."""
    assert main(["power", "--sd", "2", "--seeds", "5", "--power", "0.05"]) == 2
    assert "--power 0.05: a difference of 0 is found with alpha 0.05" in capsys.readouterr().err
    assert main(["power", "--sd", "2", "--seeds", "5", "--power", "0.06"]) == 0


def test_a_run_without_a_reason_is_named_by_its_status_alone(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    change(folder / "grpo-xs-s0-abcd" / "run.json", status="running")
    change(folder / "grpo-xs-s1-abcd" / "run.json", status="failed", reason="ValueError: out of luck")
    lines = notes(folder).splitlines()
    assert "grpo-xs-s0-abcd is running" in lines  # beside text in the column, None is NaN
    assert "grpo-xs-s1-abcd is failed: ValueError: out of luck" in lines


def test_seeds_on_other_problems_are_in_no_difference(make_study) -> None:
    """Paired means the same problems: seed 1 of one arm has others, so three of four seeds are compared."""
    folder = make_study(seeds=4, models=("xs",))
    change(folder / "study.json", primary={"path": ["sft_rejection", "grpo"]}, declared={"margin": 0.05})
    (path,) = (folder / "grpo-xs-s1-abcd").glob("eval/*/aime_gen_test.json")
    ids = json.loads(path.read_text())["problem_ids"]
    change(path, problem_ids=["another", *ids[1:]])
    study = load_study(folder)
    report = build_report(study, figures=False)
    tables = {t.name: t.raw for t in report.tables}
    grpo = tables["arms"].set_index("arm").loc["objective=grpo model=xs"]
    parts = tables["decomposition"].set_index("arm").loc["objective=grpo model=xs"]
    assert parts["choice"] + parts["skill"] == pytest.approx(grpo["gain_over_base"])
    assert grpo["seeds"] == 4 and grpo["difference_df"] == 2 and grpo["gain_over_base_df"] == 2
    assert tables["path"]["seeds"].tolist() == tables["finding"]["seeds"].tolist() == [3]
    assert "three seeds" in report.answers[1]
    assert "seeds whose problems differ are in no difference" in "\n".join(report.notes)


@pytest.mark.parametrize(
    ("primary", "said"),
    [
        ({"factor": "nope"}, "primary factor 'nope' is not one of the study's: objective, model"),
        ({"level": 95}, "primary level 95: must lie between 0 and 1"),
        ({"metric": "f1"}, "primary metric 'f1' is not known"),
    ],
)
def test_a_primary_that_cannot_be_is_said(make_study, primary: dict[str, object], said: str) -> None:
    folder = make_study(seeds=3)
    change(folder / "study.json", primary=primary)
    assert said in build_report(load_study(folder)).answers[0]


def test_a_run_cut_short_and_one_from_another_base_are_named(make_study) -> None:
    folder = make_study(seeds=3, models=("xs",))
    assert "steps" not in notes(folder) and "another base" not in notes(folder)
    path = folder / "grpo-xs-s2-abcd" / "run.json"
    config = json.loads(path.read_text())["config"]
    change(path, config=config | {"trainer": {"lr": 3e-4, "steps": 8}}, base_id="base-other")
    text = notes(folder)
    assert "grpo-xs-s2-abcd: finished after 6 of 8 steps" in text
    offline = {"offline": {"epochs": 2, "batch_size": 64}}  # its steps follow from what was accepted
    change(path, config=config | {"trainer": {"lr": 3e-4, "steps": 8}, "objective": offline})
    assert "finished after" not in notes(folder)
    grpo, sft = "objective=grpo model=xs", "objective=sft_rejection model=xs"
    assert f"{grpo} started from another base than {sft} at seed 2" in text


def test_a_table_that_cannot_be_says_why(make_study, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study(seeds=3, models=("xs",))
    change(folder / "study.json", primary={"split": "aime24"})
    assert main(["table", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "choose one of runs (No answer yet: primary task 'aime24' was not evaluated" in error


def test_a_committed_version_is_no_study_that_was_never_started(make_study, tmp_path: Path, capsys) -> None:
    folder, kept = make_study(seeds=3, models=("xs",)), tmp_path / "kept"
    assert main(["report", str(folder), "--reference", str(kept)]) == 0
    capsys.readouterr()
    assert main(["report", str(kept)]) == 2
    assert "a committed version, without its runs" in capsys.readouterr().err
    assert main(["list", str(kept.parent)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "kept" in x.split()[:1]]
    assert "6 runs, committed" in line and "unreadable" not in line
    for path in ("study.json", "runs.jsonl.gz"):  # a version committed before there were these
        (kept / path).unlink()
    assert main(["table", str(kept)]) == 2
    assert "a committed version, without its runs" in capsys.readouterr().err
    assert main(["list", str(kept.parent)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "kept" in x.split()[:1]]
    assert line.split()[1] == "committed" and "Is GRPO better" in line
