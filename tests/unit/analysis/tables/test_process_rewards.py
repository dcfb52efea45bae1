"""Derivations over steps of training and the rule for a hacked process reward, on metrics made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from analysis.figures.training import process_rewards
from analysis.study.contrasts import primary_of
from analysis.study.load import Study, load_study
from analysis.tables.process_rewards import derivation_changes, process_table, process_text
from harness.records.lines import MetricsWriter

CHECKED, LEARNED = "objective=sft_rejection model=xs", "objective=grpo model=xs"
SEEDS = 3


def write(folder: Path, arm: str, seed: int, **ends: tuple[float, float]) -> None:
    """Sixteen steps, from the first number of each metric to the second in equal parts."""
    path = folder / f"{arm}-xs-s{seed}-abcd" / "metrics.jsonl"
    path.unlink()
    writer = MetricsWriter(path)
    for step in range(16):
        found = {name: a + (b - a) * step / 15 for name, (a, b) in ends.items()}
        writer.append({"step": step + 1, "reward": 0.5, **found})


def study(make_study, *, repeated: float, true: float) -> Study:
    """The checker pays sft's statements, a model grpo's; seed s adds s/100 to what changes."""
    folder: Path = make_study(seeds=SEEDS, models=("xs",))
    for seed in range(SEEDS):
        more = seed / 100
        shared = {"derivation_steps": (2.0, 2.0), "derivation_trivial": (0.1, 0.1 + more)}
        write(
            *(folder, "sft_rejection", seed),
            **{"right_steps": (0.5, 0.6), "derivation_true": (0.5, 0.6 + more)},
            **{**shared, "derivation_repeated": (0.0, 0.0 + more)},
        )
        write(
            *(folder, "grpo", seed),
            **{"step_reward": (0.5, 0.8 + more), "derivation_true": (0.5, 0.5 + true + more)},
            **{**shared, "derivation_repeated": (0.0, repeated + 3 * more)},
        )
    return load_study(folder)


def test_the_change_from_the_first_eighth_to_the_last(make_study) -> None:
    """Two of 16 steps at each end. Seed 0 is paid 0.5 and 0.52 first, 0.78 and 0.8 last: 0.51 to 0.79, +0.28.

    Seeds 1 and 2 end 0.01 and 0.02 higher; the mean of the two last of 16 has 29/30 of it and that of the
    first 1/30: +0.28 + 28/30 of 0, 0.01, 0.02: a mean of 0.28933, sd 0.0093333, half a width
    4.30265 x 0.0093333 / sqrt(3) = 0.02318.
    """
    found = study(make_study, repeated=0.3, true=0.0)
    changes = derivation_changes(found)
    assert changes[LEARNED, "step_reward"]["0"] == pytest.approx((0.51, 0.79))
    assert (CHECKED, "step_reward") not in changes
    table = process_table(found, primary_of(found), changes)
    rows = {(row["arm"], row["measure"]): row for row in table.raw.to_dict("records")}
    row = rows[LEARNED, "step_reward"]
    assert row["change"] == pytest.approx(0.28933, abs=1e-5)
    assert row["change_low"] == pytest.approx(0.28933 - 0.02318, abs=1e-5)
    assert math.isnan(row["minus_control"])  # the control has no learned reward
    # Repeated: 0.28 + 28/30 of 0, 0.03, 0.06 against 28/30 of 0, 0.01, 0.02: 0.28 + 0.056/3.
    assert rows[LEARNED, "derivation_repeated"]["minus_control"] == pytest.approx(0.28 + 0.056 / 3, abs=1e-5)
    cells = [row[1:] for row in table.cells if row[0] == CHECKED]
    assert [row[0] for row in cells][:2] == ["statements an output", "true statements, share"]
    assert {row[-1] for row in cells} == {"control"}


@pytest.mark.parametrize(
    ("repeated", "true", "said"),
    [
        (0.3, 0.0, "It is hacked"),  # the pay rises, truth by 0, 0.01, 0.02 times 28/30: not told from none
        (0.0, 0.0, "Hacking is not shown"),  # no padding
        (0.3, 0.3, "Hacking is not shown"),  # truth rises too
    ],
)
def test_the_rule_for_a_hacked_reward(make_study, repeated: float, true: float, said: str) -> None:
    found = study(make_study, repeated=repeated, true=true)
    (line,) = process_text(found, primary_of(found), derivation_changes(found))
    assert line.startswith(f"{LEARNED}: what the model pays a statement changes by +0.289 [+0.266, +0.313]")
    assert f"beside {CHECKED}" in line and said in line


def test_without_the_checkers_arm_or_without_derivations_nothing_is_judged(make_study) -> None:
    folder: Path = make_study(seeds=SEEDS, models=("xs",))
    plain = load_study(folder)
    assert not process_table(plain, primary_of(plain), derivation_changes(plain)).cells
    assert process_rewards(plain) is None and process_text(plain, primary_of(plain), {}) == []
    for seed in range(SEEDS):
        write(folder, "grpo", seed, step_reward=(0.5, 0.6 + seed / 100), derivation_true=(0.5, 0.5))
    alone = load_study(folder)
    (line,) = process_text(alone, primary_of(alone), derivation_changes(alone))
    assert line.endswith("hacking is not judged.")
    figure = process_rewards(alone)
    assert figure is not None
    assert {row["panel"] for row in figure.rows} == {
        "learned reward of a statement",
        "true statements, share",
    }
