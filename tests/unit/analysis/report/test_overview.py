"""README.md of the committed studies is what the command makes of their files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from analysis.__main__ import main
from analysis.report.all_arms import gains
from analysis.report.committed import command_at, cost_at
from analysis.report.lower_rates import lower_rate_gains
from analysis.report.overview import MEASURES, overview

REFERENCE = Path(__file__).resolve().parents[4] / "outputs" / "reference"
FILES = {"all_arms.csv", "all_arms.png", "lower_rates.csv"}
OLDER = Path(__file__).resolve().parents[1] / "older_studies"  # of one draw of problems for all seeds


def test_the_committed_page_is_what_the_command_generates() -> None:
    assert (REFERENCE / "README.md").read_text("utf-8") == overview(REFERENCE), "run r1-report findings"


def test_the_committed_gains_are_those_of_the_evaluations() -> None:
    rows = gains(REFERENCE)
    assert (REFERENCE / "all_arms.csv").read_text("utf-8") == rows.to_csv(index=False, float_format="%.6g")
    assert (REFERENCE / "all_arms.png").exists()
    lower = lower_rate_gains(REFERENCE).to_csv(index=False, float_format="%.6g")
    assert (REFERENCE / "lower_rates.csv").read_text("utf-8") == lower


def test_every_committed_folder_has_a_place_and_every_link_a_file() -> None:
    text = overview(REFERENCE)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not (REFERENCE / link).exists()] == []
    folders = {path.name for path in REFERENCE.iterdir() if path.is_dir()}
    assert folders == {link.split("/")[0] for link in links} - FILES
    assert {name for name in MEASURES if not (REFERENCE / name).exists()} == set()
    assert {f"bench/{path.name}" for path in (REFERENCE / "bench").iterdir()} <= set(MEASURES)


def test_the_page_judges_old_studies_by_a_quarter_of_the_controls_gain_and_prints_no_p_value() -> None:
    page = [*overview(REFERENCE).split("\n\n"), *overview(OLDER).split("\n\n")]
    sentences = [part for part in page if not part.startswith(("#", "!", "- "))]
    assert not any(re.search(r"\bp [=<]", text) for text in sentences)
    (floor,) = (text for text in sentences if "at the floor" in text)
    assert floor.startswith("Smoke test, 3 seeds: at the floor: no arm (1.4 to 2.4 %) is above")
    older = overview(OLDER).split("\n\n")
    bridge, clean = (text for text in older if "`kl`" in text)
    assert bridge.startswith(
        "In avg@16, undecided between `kl` and `sft`: 1.3 points lower [0.4, 2.1], found by itself, but not"
    )
    assert "Not equivalent: the margin is 1.4 points, a quarter of `sft`'s gain." in bridge
    assert "In greedy: better, +3.5 [+1.2, +5.8];" in bridge
    assert clean.startswith("In avg@16, this study cannot tell `kl` from `sft`: the arms hardly moved")
    (kind,) = (text for text in older if "`data_kind=reasoning`" in text)
    assert "is better than `data_kind=general`: 1.7 points higher [0.9, 2.5]." in kind
    assert "equivalent" not in kind
    assert not any("is equivalent to" in text for text in older)
    # It takes an effect within a quarter of a gain that is told from 0.
    said = [text[:70] for text in sentences if "is equivalent to" in text]
    assert "In avg@16, `clip=0.2` is equivalent to `clip=none`, within 2.6 points," in said


def test_figures_have_their_title_and_equal_questions_the_studys_name(tmp_path: Path) -> None:
    for name in ("bridge", "step_count"):
        shutil.copytree(REFERENCE / name, tmp_path / name)
    shutil.copytree(REFERENCE / "bridge", tmp_path / "bridge_again")
    text = overview(tmp_path)
    assert "what changes accuracy? (generated problems) (bridge_again)\n" in text
    assert "under GRPO and under SFT? (generated problems)\n" in text
    title = "Difference to the control in avg@16, 10 seeds; grey: the untrained base"
    assert f"![{title}](bridge/figures/differences.png)" in text
    assert "objective, 8 to 9 seeds; grey: the untrained base](step_count/figures/checkpoints.png)" in text
    assert "Other measures" not in text


def test_a_studys_command_stands_with_the_commit_that_it_was_given_at() -> None:
    made = json.loads((REFERENCE / "bridge" / "provenance.json").read_text("utf-8"))
    assert command_at(made) == f"`{made['command']}` at commit `3ab4023c36`"
    assert command_at({"command": "make quickstart"}) == "`make quickstart`"
    assert command_at({"commit": "91e43d2c70"}) == ""
    text = overview(REFERENCE)
    commands = re.findall(r"`(python -m harness [^`]+)`(.{0,12})", text)
    bare = [command for command, after in commands if after != " at commit `"]
    assert len(commands) >= 11 and bare == ["python -m harness ablation=reward_models"]  # it records none


def test_the_command_names_what_is_wrong(tmp_path: Path, capsys) -> None:
    assert main(["findings", str(tmp_path)]) == 2
    assert "no finding.json in any folder" in capsys.readouterr().err
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "finding.json").write_text("{}")
    assert main(["findings", str(tmp_path)]) == 2
    assert "a/finding.json: question: field required; write the reference again" in capsys.readouterr().err
    row = {"study": "a", "question": "Is it?", "answer": "no difference to take; avg@8", "seeds": 5}
    (tmp_path / "a" / "finding.json").write_text(json.dumps(row))
    assert main(["findings", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "## Is it?\n\nNo difference to take.\n\n5 seeds · [tables](a/)\n" in text


def test_a_study_says_how_many_runs_took_how_long_on_what() -> None:
    made = {
        "runs": {"finished": 178, "failed": 2},
        "first_started": "2026-11-30T16:32:12+00:00",
        "last_finished": "2026-11-30T16:37:42+00:00",
        "hardware": {"gpu": "NVIDIA H200", "cores": 32, "processor": "x"},
    }
    assert cost_at(made) == "180 runs in 5m30s, 1,964 an hour, on NVIDIA H200 and 32 cores"
    assert cost_at({**made, "runs": {"finished": 178, "failed": 2, "missing": 20}}) == cost_at(made)
    assert cost_at({**made, "hardware": {"cores": 2}}).endswith("an hour, on 2 cores")
    assert cost_at({**made, "hardware": None}).endswith("1,964 an hour")
    assert cost_at({**made, "last_finished": made["first_started"]}) == ""
    assert cost_at({**made, "first_started": None}) == cost_at({}) == ""
