"""A committed study's sentence, by construction of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.report.build import build_report
from analysis.report.committed import Committed
from analysis.report.reference import write_reference
from analysis.report.sentences import sentence
from analysis.study.load import load_study

ANSWER = "kl − sft: −1.3 [−2.1, −0.4] points avg@16 on test_k; lower (p = 0.012), yet equivalent within ±3.0"
GAINING = "; over their bases 2 of 2 arms gain when sampled and "


def commit(folder: Path, *, answer: str = ANSWER, seeds: int = 6, **plan: Any) -> Committed:
    """Two arms at 20 and 19 %, both 6 points above their base, best constant 8 %."""
    folder.mkdir(exist_ok=True)
    finding = {"study": folder.name, "question": "Why?", "answer": answer, "seeds": seeds}
    (folder / "finding.json").write_text(json.dumps(finding))
    (folder / "study.json").write_text(
        json.dumps({"primary": {"factor": "arm", "split": "test"}, "declared": {}, **plan})
    )
    (folder / "config.json").write_text(json.dumps({"eval.temperature": 1.0}))
    header = "arm,estimate,best_constant,gain_over_base,gain_over_base_low,gain_over_base_high\n"
    (folder / "arms.csv").write_text(
        header + "sft,0.20,0.08,0.06,0.04,0.08\n" + "kl,0.19,0.08,0.05,0.03,0.07\n"
    )
    return Committed.read(folder)


def evaluate(folder: Path, *, greedy: dict[str, list[float]], base: float = 0.3) -> None:
    """Greedy accuracies per seed at step 48 after an earlier one, the base's at step 0.

    avg@k rises by 5, 6, 7 ... points in each arm.
    """
    lines = ["run_id,arm,seed,step,task,split,avg,greedy"]
    for arm, values in greedy.items():
        for seed, value in enumerate(values):
            for step, shown in ((48, value), (24, 0.99), (0, base)):  # any order of rows
                avg = 0.15 + seed / 100 if step else 0.1
                lines.append(f"{arm}{seed},{arm},{seed},{step},test_k,test,{avg},{shown}")
    (folder / "evaluations.csv").write_text("\n".join(lines))


def test_a_difference_has_a_side_and_an_interval_and_no_verdict(tmp_path: Path) -> None:
    text = sentence(commit(tmp_path))
    assert text == "`kl` is 1.3 [0.4, 2.1] points below `sft` in avg@16."
    higher = "0.2 − none: +0.5 [+0.1, +0.9] points avg@16 on test_k; higher (p = 0.017)"
    text = sentence(commit(tmp_path, answer=higher, primary={"factor": "clip", "split": "test"}))
    assert text == "`clip=0.2` is 0.5 [0.1, 0.9] points above `clip=none` in avg@16."


def test_an_interval_around_zero_is_no_difference_found(tmp_path: Path) -> None:
    answer = ANSWER.replace("−1.3 [−2.1, −0.4]", "+0.1 [−0.3, +0.5]")
    assert sentence(commit(tmp_path, answer=answer)) == (
        "no difference found in avg@16: `kl` minus `sft` is +0.1 [−0.3, +0.5] points."
    )
    bare = "kl − sft: +0.1 points avg@16 on test_k; no interval, nothing concluded"
    assert sentence(commit(tmp_path, answer=bare)) == "`kl` minus `sft` is +0.1 points, without an interval."
    counted = (
        "0 of 4 differences found (Holm, 0.05); largest: 4 − 0: −0.7 [−1.9, +0.4] points avg@8 on test_k"
    )
    assert sentence(commit(tmp_path, answer=counted)) == (
        "0 of 4 differences are found; the largest, `4` minus `0`, is −0.7 [−1.9, +0.4] points."
    )


def test_three_seeds_are_a_smoke_test(tmp_path: Path) -> None:
    assert sentence(commit(tmp_path, seeds=3)).startswith("Smoke test, 3 seeds: `kl` is 1.3")
    assert "Smoke" not in sentence(commit(tmp_path, seeds=4))


def test_gains_are_counted_when_sampled_and_when_greedy(tmp_path: Path) -> None:
    study = commit(tmp_path)
    evaluate(tmp_path, greedy={"sft": [0.29, 0.31, 0.29], "kl": [0.31, 0.29, 0.30]})
    assert sentence(study).endswith(GAINING + "none when decoded greedily, as sharpening does.")
    # The last step counts, and the base's is the first.
    assert study.accuracy["kl"].after["greedy"].tolist() == [0.31, 0.29, 0.30]
    study = Committed.read(tmp_path)
    # Greedy rises by 5, 6 and 7 points: t interval 6 ± 4.30 · 1 / √3 lies above 0.
    evaluate(tmp_path, greedy={"sft": [0.29, 0.31, 0.29], "kl": [0.35, 0.36, 0.37]})
    assert sentence(study).endswith(GAINING + "1 when decoded greedily.")
    study = Committed.read(tmp_path)
    evaluate(tmp_path, greedy={"sft": [0.29, 0.31, 0.29], "kl": [0.25, 0.24, 0.23]})
    assert sentence(study).endswith(GAINING + "none when decoded greedily, where 1 loses.")


def test_gains_in_samples_are_of_avg_whatever_the_study_measures(tmp_path: Path) -> None:
    """No arm gains in pass@k, its primary measure; both gain in avg@k: 5, 6, 7, so 6 ± 4.30 · 1 / √3."""
    study = commit(tmp_path, primary={"factor": "arm", "split": "test", "metric": "pass"})
    arms = (tmp_path / "arms.csv").read_text()
    (tmp_path / "arms.csv").write_text(
        arms.replace("0.04,0.08", "-0.04,0.08").replace("0.03,0.07", "-0.03,0.07")
    )
    evaluate(tmp_path, greedy={"sft": [0.29, 0.31, 0.29], "kl": [0.31, 0.29, 0.30]})
    assert sentence(study).endswith(GAINING + "none when decoded greedily, as sharpening does.")
    path = tmp_path / "evaluations.csv"
    path.write_text(path.read_text().replace("0.15,", "0.02,"))  # kl and sft by -8, 6 and 7 points
    text = sentence(Committed.read(tmp_path))
    assert text.endswith("; over their bases 0 of 2 arms gain when sampled and none when decoded greedily.")


CHAINS = "kl − sft: +40.3 [+34.4, +46.2] points valid chains@16 on test_k (generated problems); "
CARRIED = "one family, gcd, carries the difference"
FAMILIES = """arm,of,by,group,problems,estimate,low,high,p_value,share
kl,gain over base,family,gcd,48,0.7,0.6,0.8,0.001,0.9
kl,difference to control,family,gcd,48,0.77,0.68,0.87,0.001,0.96
kl,difference to control,family,divisors,48,0.032,-0.005,0.069,0.08,0.04
"""


def in_chains(folder: Path, *, arms: tuple[str, ...] = ("sft", "kl")) -> Committed:
    """A study whose measure no CSV file has: its verdict is finding.json's."""
    listed = [{"label": name, "levels": {"arm": name}} for name in arms]
    primary = {"factor": "arm", "split": "test", "metric": "chain"}
    plan = {"arms": listed, "control": {"arm": "sft"}, "factors": {"arm": list(arms)}, "primary": primary}
    study = commit(folder, answer=f"{CHAINS}this study cannot tell: {CARRIED}", **plan)
    row = {
        **{"factor": "arm", "level": "kl", "control": "sft", "metric": "chain"},
        **{"verdict": "cannot tell", "reason": CARRIED, "p_value": 1e-6, "p_holm": 1e-6},
        **{"margin": 0.1, "margin_p": 0.9, "base_p": 1e-9, "gain_ratio": [-99.0, None, None]},
        **{"largest_family": "gcd", "largest_family_share": 0.96, "difference": [0.403, 0.344, 0.462]},
        **{"control_gain": [-0.004, -0.011, 0.003], "new_families": [0.403, None, None]},
    }
    finding = json.loads((folder / "finding.json").read_text())
    (folder / "finding.json").write_text(json.dumps(finding | {"verdicts": [row | {"metric": "avg"}, row]}))
    (folder / "families.csv").write_text(FAMILIES)
    return study


def test_a_measure_without_a_table_has_the_verdict_of_the_finding(tmp_path: Path) -> None:
    study = in_chains(tmp_path)
    assert sentence(study) == (
        "in valid chains@16, this study cannot tell `kl` from `sft`: one family, gcd, carries the "
        "difference. Measured: 40.3 points higher [34.4, 46.2]. `gcd`, one family of 2, makes 96 % of "
        "the difference; on the others it is +3.2 [−0.5, +6.9] points. Nothing follows for new "
        "families of problems."
    )
    finding = json.loads((tmp_path / "finding.json").read_text())
    finding["verdicts"][1]["reason"] = "learning rates were chosen by another measure"
    (tmp_path / "finding.json").write_text(json.dumps(finding))
    text = sentence(Committed.read(tmp_path))  # the other family's interval holds 0 whatever the verdict says
    assert "chosen by another measure. Measured" in text and "makes 96 % of the difference" in text
    (tmp_path / "families.csv").write_text(FAMILIES.replace("-0.005", "0.005"))
    assert "one family" not in sentence(Committed.read(tmp_path))
    del finding["verdicts"]
    (tmp_path / "finding.json").write_text(json.dumps(finding))
    assert sentence(Committed.read(tmp_path)) == (
        "`kl` is 40.3 [34.4, 46.2] points above `sft` in valid chains@16."
    )


def test_a_family_is_named_without_the_rest_where_that_is_not_known(tmp_path: Path) -> None:
    study = in_chains(tmp_path)
    third = "kl,difference to control,family,lcm,48,0.01,-0.01,0.03,0.1,0.0\n"
    (tmp_path / "families.csv").write_text(FAMILIES + third)
    said = (
        "`gcd`, one family of 3, makes 96 % of the difference. Nothing follows for new families of problems."
    )
    assert sentence(study).endswith(f"[34.4, 46.2]. {said}")


def test_the_gain_of_a_control_is_not_taken_apart_in_another_measure(tmp_path: Path) -> None:
    """In avg@k the control gains 60 and 70 points on gcd alone; the study counts valid chains."""
    study = in_chains(tmp_path)
    finding = json.loads((tmp_path / "finding.json").read_text())
    finding["verdicts"] = [finding["verdicts"][1] | {"verdict": "better", "reason": None}]
    (tmp_path / "finding.json").write_text(json.dumps(finding))
    rows = [
        f"{arm},{s},{step},test_k,10,{6 + s % 2 if step else 0} 0"
        for arm in ("sft", "kl")
        for s in range(4)
        for step in (0, 2)
    ]
    (tmp_path / "problems.csv").write_text("\n".join(["arm,seed,step,task,k,right", *rows]))
    listed = ["problem,topic,family,level", "a,t,gcd,1", "b,t,divisors,1"]
    (tmp_path / "problem_list.csv").write_text("\n".join(listed))
    plan = json.loads((tmp_path / "study.json").read_text())
    text = sentence(study)
    assert "`kl` is better than `sft`: 40.3 points higher" in text and "of the gain" not in text
    plan["primary"]["metric"] = "avg"
    (tmp_path / "study.json").write_text(json.dumps(plan))
    assert "makes 100 % of the gain of `sft`" in sentence(Committed.read(tmp_path))


def test_an_arm_without_a_valid_chain_is_named(tmp_path: Path) -> None:
    """The best constant answer, 8 %, is no floor of valid chains: sft has none and kl has 5 %."""
    study = in_chains(tmp_path)
    arms = (tmp_path / "arms.csv").read_text()
    (tmp_path / "arms.csv").write_text(arms.replace("sft,0.20", "sft,0.0").replace("kl,0.19", "kl,0.05"))
    assert "[34.4, 46.2]; `sft` has no valid chain. `gcd`" in sentence(study)


def test_a_contrast_is_told_in_greedy_accuracy_too(tmp_path: Path) -> None:
    """kl - sft by seed: .05, .07, .06, .06: mean 6, sd .816, half width 3.182 · .816 / 2 = 1.3."""
    arms = [{"label": name, "levels": {"arm": name}, "overrides": []} for name in ("sft", "kl")]
    plan = {"arms": arms, "control": {"arm": "sft"}, "factors": {"arm": ["sft", "kl"]}}
    study = commit(tmp_path, **plan)
    lines = ["run_id,arm,seed,step,task,split,avg,greedy,best_constant"]
    for arm, values in {"sft": [0.26, 0.28, 0.27, 0.27], "kl": [0.31, 0.35, 0.33, 0.33]}.items():
        for seed, value in enumerate(values):
            lines.append(f"{arm}{seed},{arm},{seed},48,test_k,test,{value - 0.1:.3f},{value},0.01")
            lines.append(f"{arm}{seed},{arm},{seed},0,test_k,test,0.1,0.2,0.01")
    (tmp_path / "evaluations.csv").write_text("\n".join(lines))
    text = sentence(study)
    assert text.startswith("in avg@16, `kl` is better than `sft`: 6.0 points higher [4.7, 7.3]. In greedy: ")
    assert "In greedy: better, +6.0 [+4.7, +7.3]; over" in text


@pytest.mark.parametrize("plan", [{"declared": {"checkpoint": "validation"}}, {}])
def test_nothing_is_said_of_greedy_where_it_cannot_be_known(tmp_path: Path, plan: dict[str, Any]) -> None:
    """Runs judged at another checkpoint than the last; no evaluations at all."""
    study = commit(tmp_path, **plan)
    if plan:
        evaluate(tmp_path, greedy={"sft": [0.26, 0.28], "kl": [0.31, 0.29]})
    assert "greedily" not in sentence(study) and study.accuracy == {}


def test_nothing_is_said_of_greedy_where_it_was_not_run(tmp_path: Path) -> None:
    study = commit(tmp_path)
    evaluate(tmp_path, greedy={"sft": [0.29, 0.31, 0.29]})
    path = tmp_path / "evaluations.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.rpartition(",")[0] + "," for row in rows)]))
    assert study.accuracy["sft"].after["greedy"].isna().all()
    assert sentence(study) == "`kl` is 1.3 [0.4, 2.1] points below `sft` in avg@16."


def test_arms_below_the_best_constant_answer_are_named(tmp_path: Path) -> None:
    study = commit(tmp_path)
    arms = (tmp_path / "arms.csv").read_text()
    (tmp_path / "arms.csv").write_text(arms.replace("kl,0.19,0.08", "kl,0.19,0.19"))
    assert sentence(study).endswith("; `kl` is not shown to be above the best constant answer (19.0 %).")
    (tmp_path / "arms.csv").write_text(
        arms.replace("0.08,0.06", "0.21,0.06").replace("0.19,0.08", "0.19,0.21")
    )
    assert sentence(Committed.read(tmp_path)) == (
        "at the floor: no arm (19.0 to 20.0 %) is above the best constant answer (21.0 %)."
    )


def test_gains_are_counted_by_their_intervals(tmp_path: Path) -> None:
    primary = {"factor": "arm", "split": "test", "criterion": "gain"}
    arms_of = [{"label": name, "levels": {"arm": name}} for name in ("sft", "kl", "random")]
    declared = {"family": ["sft", "kl"], "nulls": ["random"]}
    study = commit(tmp_path, primary=primary, declared=declared, arms=arms_of)
    arms = (tmp_path / "arms.csv").read_text().replace("0.05,0.03,0.07", "0.05,-0.01,0.11")
    (tmp_path / "arms.csv").write_text(arms + "random,0.12,0.08,-0.02,-0.08,0.03\n")
    assert sentence(study) == "1 of 2 arms gain 6.0 points, the null control `random` −2.0 [−8.0, +3.0]."


def test_a_trend_is_the_sentence_where_there_is_one(tmp_path: Path) -> None:
    study = commit(tmp_path)
    rows = ["factor,of,at,levels,log10,slope,low,high"]
    rows.append("steps (checkpoints),avg@k,kl,12.0 24.0 96.0,True,0.035,0.003,0.067")
    (tmp_path / "trends.csv").write_text("\n".join(rows))
    assert (
        sentence(study)
        == "a factor of ten in steps adds +3.5 [+0.3, +6.7] (`kl`) points of accuracy, over 12 to 96."
    )
    rows.append("steps (checkpoints),gain over the base,—,12.0 96.0,True,0.02,0.01,0.03")
    (tmp_path / "trends.csv").write_text("\n".join(rows))
    text = sentence(study)
    assert (
        text
        == "a factor of ten in steps adds +2.0 [+1.0, +3.0] points to the gain over the base, over 12 to 96."
    )


def test_a_reference_as_it_is_written_has_a_sentence(make_study, tmp_path: Path) -> None:
    """The answer in finding.json is parsed, so a change of its form must be seen here."""
    report = build_report(load_study(make_study(seeds=4, models=("xs",))), figures=False)
    write_reference(report, tmp_path / "toy")
    text = sentence(Committed.read(tmp_path / "toy"))
    assert text.startswith("in avg@4, `objective=grpo` is better than `objective=sft_rejection`: ")
