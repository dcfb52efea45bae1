"""Saturation curves of a study on disk, whose checkpoints follow curves of known asymptotes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.report import rule_words, rules
from analysis.report.build import build_report
from analysis.report.rule_saturation import saturation
from analysis.stats.inference import tost
from analysis.stats.intervals import paired_t
from analysis.stats.margins import tost_share
from analysis.stats.sigmoid import Forecast, Sigmoid
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.load import load_study
from analysis.study.saturation import Saturation, saturations
from analysis.tables.saturation import saturation_table
from harness.records import records

STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
ASYMPTOTES = {"sft_rejection": [0.50, 0.56, 0.60], "grpo": [0.52, 0.56, 0.63]}  # by seed
BASE = 0.2
GAPS = [0.02, 0.0, 0.03]
RISES = [0.30, 0.36, 0.40]  # of the control


@pytest.fixture
def curved(make_study: Callable[..., Path]) -> Callable[..., Path]:
    """A study whose runs have checkpoints at STEPS, each run on its own curve from a base of 20 %."""

    def make(late: str = "", steps: list[int] = STEPS) -> Path:
        folder = make_study(models=("xs",))
        for seed in range(3):
            (path,) = folder.parent.glob(f"bases/*/eval/base-key{seed}/aime_gen_test.json")
            records.write_record(path, _at(records.read_eval(path), BASE))
        for name, asymptotes in ASYMPTOTES.items():
            for seed, asymptote in enumerate(asymptotes):
                run = folder / f"{name}-xs-s{seed}-abcd"
                _write_run(
                    run, 0.9 if run.name == late else asymptote, 40.0 if run.name == late else 3.0, steps
                )
        return folder

    return make


def _write_run(run: Path, asymptote: float, midpoint: float, steps: list[int]) -> None:
    records.write_record(run / "run.json", records.read_run(run).model_copy(update={"steps_done": steps[-1]}))
    (path,) = run.glob("eval/*/aime_gen_test.json")
    first = records.read_eval(path)
    path.unlink()
    truth = Sigmoid(BASE, asymptote, midpoint, 1.6, 0.0, True)
    for step, rate in zip(steps, truth.at(steps), strict=True):
        name = first.checkpoint.replace("000006", f"{step:06d}")
        made = _at(first, float(rate)).model_copy(update={"step": step, "checkpoint": name})
        records.write_record(run / "eval" / name / "aime_gen_test.json", made)


def _at(record: records.EvalRecord, rate: float) -> records.EvalRecord:
    """The record with 50 samples of its 20 problems, of which a share `rate` is right, to a thousandth."""
    right = np.arange(1000) < round(1000 * rate)
    rows = right.reshape(50, 20).T.astype(int).tolist()
    ones, zeros = [[1] * 50] * 20, [[0] * 50] * 20
    return record.model_copy(
        update={
            "k": 50,
            "correct": rows,
            "answers": [["right" if c else "wrong" for c in row] for row in rows],
            "stepped": ones,
            "num_steps": ones,
            "num_wrong_steps": zeros,
            "lengths": [[12] * 50] * 20,
            "truncated": zeros,
        }
    )


def of(folder: Path, margin: object = None) -> dict[str, Saturation]:
    study = load_study(folder)
    if margin is not None:
        study.record.declared["margin"] = margin
    primary = primary_of(study)
    found = saturations(study, primary, arm_results(study, primary))
    return {one.label.split("=")[1].split()[0]: one for one in found}


def test_asymptotes_are_those_of_each_seeds_checkpoints(curved: Callable[..., Path]) -> None:
    found = of(curved())
    for name, truth in ASYMPTOTES.items():
        one = found[name]
        assert one.num_reached == 3
        assert [fit.asymptote for fit in one.fits.values()] == pytest.approx(truth, abs=0.01)
        assert [fit.midpoint for fit in one.fits.values()] == pytest.approx([3.0] * 3, rel=0.1)
        assert [fit.start for fit in one.fits.values()] == pytest.approx([BASE] * 3)
        wanted = paired_t([fit.asymptote for fit in one.fits.values()])
        assert one.asymptote is not None
        assert (one.asymptote.estimate, one.asymptote.low) == pytest.approx((wanted.estimate, wanted.low))
        # 32 / 4 = 8: six checkpoints
        assert [f.held for f in one.forecasts.values()] == [y[5] for _, y, _ in one.curves.values()]
        assert max(abs(f.error) for f in one.forecasts.values()) < 0.02


def test_asymptotes_are_compared_seed_by_seed_with_the_declared_margin(curved: Callable[..., Path]) -> None:
    folder = curved()
    one, control = of(folder, 0.05)["grpo"], of(folder, 0.05)["sft_rejection"]
    assert control.difference is None and control.within_p is None
    assert one.difference is not None
    by_hand = [one.fits[s].asymptote - control.fits[s].asymptote for s in one.fits]
    assert by_hand == pytest.approx(GAPS, abs=0.01)
    assert one.difference.estimate == pytest.approx(float(np.mean(by_hand)))
    assert one.within_p == pytest.approx(tost(by_hand, margin=0.05).p_value)
    rises = [f.asymptote - f.start for f in control.fits.values()]
    assert rises == pytest.approx(RISES, abs=0.01)
    share = of(folder, {"share": 0.25})["grpo"]
    assert share.within_p == pytest.approx(tost_share(by_hand, rises, share=0.25))
    assert of(folder)["grpo"].within_p is None


def test_no_asymptote_is_claimed_while_one_seed_still_rises(curved: Callable[..., Path]) -> None:
    folder = curved(late="grpo-xs-s1-abcd")
    found = of(folder, 0.05)
    one = found["grpo"]
    assert one.num_reached == 2 and len(one.fits) == 3
    assert one.asymptote is None and one.difference is None and one.within_p is None
    assert found["sft_rejection"].asymptote is not None
    assert one.error is not None  # a forecast is judged by what was observed, whatever the asymptote


def test_the_report_has_a_row_an_arm_and_a_csv_row_a_seed(curved: Callable[..., Path]) -> None:
    study = load_study(curved())
    (table,) = [t for t in build_report(study, figures=False).tables if t.name == "saturation"]
    assert len(table.cells) == 2 and len(table.raw) == 6
    row = table.cells[0]
    assert len(row) == len(table.columns)
    assert row[1] == "3 of 3" and row[2].startswith("55.")
    assert row[-1] == "3 of 3"  # the curves are exact, and the score at the quarter is far from the last
    assert "extrapolated" in table.note and "arXiv:2510.13786" in table.note


def test_the_rule_of_the_preset_reads_this_table(
    curved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "RULES", {"toy": saturation})
    monkeypatch.setattr(rule_words, "SMOKE_SEEDS", 2)
    answers = build_report(load_study(curved()), figures=False).answers
    (ceiling,), (forecast,) = (
        [a for a in answers if a.startswith(q)] for q in ("Where does", "Does a forecast")
    )
    assert " `objective=grpo model=xs` is undecided (+1.7 [−2.1, +5." in ceiling  # GAPS, t of 2 df: 4.30
    assert "It holds for `objective=sft_rejection model=xs` (3 of 3)" in forecast


def test_a_forecast_is_as_good_as_it_is_in_each_seed(curved: Callable[..., Path]) -> None:
    study = load_study(curved())
    primary = primary_of(study)
    one = saturations(study, primary, arm_results(study, primary))[0]
    # Errors +0.10, -0.10 and 0.01 have a mean near 0, and the held score is nearer in two of three seeds.
    errors = {"0": (0.60, 0.45), "1": (0.40, 0.45), "2": (0.51, 0.45)}
    forecasts = {seed: Forecast(32, curve, held, 0.50) for seed, (curve, held) in errors.items()}
    row = saturation_table(study, primary, [replace(one, forecasts=forecasts)]).cells[0]
    assert row[-2:] == ["−5.0", "1 of 3"]


def test_a_study_with_few_checkpoints_has_no_such_table(curved: Callable[..., Path]) -> None:
    study = load_study(curved(steps=[2, 8, 32]))
    assert saturations(study, primary_of(study), arm_results(study, primary_of(study))) == []
    assert "saturation" not in {t.name for t in build_report(study, figures=False).tables}
