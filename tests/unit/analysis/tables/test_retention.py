"""What was kept, at the checkpoint that a run is judged by, paired by seed, against scipy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scipy.stats as sps

from analysis.figures.evaluations import kept
from analysis.figures.training import learning_rates
from analysis.study.contrasts import arm_results, primary_of
from analysis.study.kept import retention_values
from analysis.study.load import load_study
from analysis.tables.retention import retention_table

TREATED, CONTROL = "objective=grpo model=xs", "objective=sft_rejection model=xs"


def with_losses(folder: Path) -> dict[str, list[float]]:
    """Measured at steps 3 and 6 alone; the last by arm and seed."""
    last: dict[str, list[float]] = {"grpo": [], "sft_rejection": []}
    for path in sorted(folder.glob("*/metrics.jsonl")):
        arm, seed = path.parent.name.split("-")[0], int(path.parent.name.split("-s")[-1][0])
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row.pop("kept_loss")
            if row["step"] % 3 == 0:
                row["kept_loss"] = 0.1 * row["step"] + 0.01 * seed**2 + (0.05 * seed if arm == "grpo" else 0)
                row["kept_kl_reverse"] = 0.2 + 0.01 * seed
        last[arm].append(rows[-1]["kept_loss"])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return last


def test_the_table_is_the_paired_t_of_the_losses(make_study) -> None:
    folder = make_study(models=("xs",))
    last = with_losses(folder)
    study = load_study(folder)
    results = arm_results(study, primary_of(study))
    table = retention_table(study, results)
    row = table.raw.set_index("arm").loc[TREATED]
    assert row["kept_loss"] == pytest.approx(sum(last["grpo"]) / 3)
    found = sps.ttest_rel(last["grpo"], last["sft_rejection"]).confidence_interval()
    assert row["kept_loss_difference"] == pytest.approx(0.05)
    assert (row["kept_loss_difference_low"], row["kept_loss_difference_high"]) == pytest.approx(tuple(found))
    cells = {line[0]: line for line in table.cells}
    assert cells[CONTROL][-1] == "control" and cells[TREATED][-1].startswith("+0.050 [−")
    assert "KL(base‖policy)" not in table.columns and "0.210 [" in cells[TREATED][3]


def test_the_figure_has_the_intervals_of_the_gain_and_of_the_kl(make_study) -> None:
    """KL of seeds 0, 1, 2: 0.20, 0.21, 0.22; the half width is t(0.975; 2) · 0.01 / √3."""
    folder = make_study(models=("xs",))
    with_losses(folder)
    study = load_study(folder)
    primary = primary_of(study)
    results = arm_results(study, primary)
    figure = kept(study, primary, results)
    assert figure is not None
    row = next(row for row in figure.rows if row["series"] == TREATED)
    half = sps.t.ppf(0.975, 2) * 0.01 / 3**0.5
    assert (row["x_low"], row["x"], row["x_high"]) == pytest.approx((0.21 - half, 0.21, 0.21 + half))
    gain = next(r.gain for r in results if r.label == TREATED)
    assert gain is not None and (row["low"], row["high"]) == pytest.approx((100 * gain.low, 100 * gain.high))
    fields = [layer["encoding"].get("x2", {}).get("field") for layer in figure.spec["layer"]]
    assert "x_high" in fields


def test_an_earlier_checkpoint_has_its_own_loss(make_study) -> None:
    folder = make_study(models=("xs",))
    with_losses(folder)
    study = load_study(folder)
    study.runs["checkpoint"] = 4
    assert retention_values(study, "kept_loss")[CONTROL]["0"] == pytest.approx(0.3)


def test_the_pilot_is_drawn(make_study) -> None:
    study = load_study(make_study(models=("xs",)))
    assert learning_rates(study, primary_of(study)) is None
    tried = {"0.001": {"100": 0.2, "101": 0.4}, "0.0001": {"100": 0.5, "101": 0.5}}
    study.record.pilot = [{"arm": "a", "chosen": 1e-4, "tried": tried}]
    figure = learning_rates(study, primary_of(study))
    assert figure is not None and [row["x"] for row in figure.rows] == [1e-4, 1e-3]
    for end, values in {"value": [50, 30], "low": [50, 20], "high": [50, 40]}.items():
        assert [row[end] for row in figure.rows] == pytest.approx(values)
