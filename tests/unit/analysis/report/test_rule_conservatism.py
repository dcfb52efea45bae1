"""Each word of the rule on conservative terms, from constructed tables of 2 × 2 × 2 arms."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report import rule_conservatism, rules
from analysis.report.build import build_report
from analysis.report.rule_conservatism import conservatism
from analysis.stats.intervals import paired_t
from analysis.study.contrasts import primary_of
from analysis.study.load import load_study
from analysis.study.response import AreaEffect
from analysis.tables import rates

FACTORS = {"clip": ["none", "0.2"], "kl": ["none", "0.04"], "trainer.steps": ["50", "200"]}
PLAN: dict[str, Any] = {
    "factors": FACTORS,
    "control": {"clip": "none", "kl": "none", "trainer.steps": "200"},
    "primary": {"factor": "kl", "contrast": "0.04", "split": "test", "metric": "avg"},
    "arms": [
        {
            "label": f"clip={clip}, kl={kl}, steps={steps}",
            "levels": {"clip": clip, "kl": kl, "trainer.steps": steps},
        }
        for clip, kl, steps in product(*FACTORS.values())
    ],
}
Area = tuple[float, float | None, float | None, float | None]  # difference, low, high, p of equivalence
SAME: Area = (0.0, -0.01, 0.01, 0.05)
ABOVE: Area = (0.05, 0.04, 0.06, 0.9)
FIRST = ("clip", "kl=none, trainer.steps=50")


def said(changed: dict[tuple[str, str], Area] | None = None, *, n: int = 5, drop: int = 0) -> str:
    """The line on areas: SAME in each of 8 settings but those changed; the first `drop` were not run."""
    rows = [
        {"factor": term, "level": level, "against": "none", "where": where, "n": n}
        | dict(
            zip(("estimate", "low", "high", "tost_p"), (changed or {}).get((term, where), SAME), strict=True)
        )
        for term, level, other in (("clip", "0.2", "kl"), ("kl", "0.04", "clip"))
        for first, steps in product(FACTORS[other], FACTORS["trainer.steps"])
        for where in [f"{other}={first}, trainer.steps={steps}"]
    ][drop:]
    rows += [  # a mean over settings, and a factor that is no term
        {**dict.fromkeys(("factor", "level"), "clip"), "where": where, "n": n, "tost_p": 0.9}
        | {"estimate": 0.5, "low": 0.4, "high": 0.6}
        for where in ("", None)
    ]
    rows.append({**rows[-1], "factor": "trainer.steps", "where": "clip=none, kl=none"})
    areas = pd.DataFrame(rows)
    return "\n".join(conservatism(PLAN, lambda name: areas if name == "area_effects" else pd.DataFrame()))


def test_the_cause_fails_where_every_setting_is_equivalent() -> None:
    text = said(
        {FIRST: (-0.02, -0.03, -0.01, 0.001), ("kl", "clip=0.2, trainer.steps=50"): (0.03, 0.02, 0.04, 0.05)}
    )
    assert "Cause 1 fails here: in each of 8 settings the difference is equivalent, " in text
    assert text.endswith("they are −2.0 to +3.0.")


@pytest.mark.parametrize(
    ("area", "word"),
    [
        (
            ABOVE,
            "holds in 1 of 8 settings. Above 0 with `clip=0.2` at `kl=none, trainer.steps=50` (+5.0 [",
        ),
        ((0.05, 0.04, 0.06, 0.05), "Cause 1 fails here"),  # above 0, and equivalent
        ((0.05, 0.0, 0.1, 0.9), "Cause 1 is undecided. Equivalent, "),
        ((0.0, -0.01, 0.01, 0.051), "Cause 1 is undecided. Equivalent, "),
        ((0.05, 0.04, 0.06, None), "is said: 1, in 1 of which the control has no gain."),
        ((-0.05, -0.06, -0.04, 0.9), "Settings of which nothing is said: 1."),
        ((0.05, None, None, 0.9), "Settings of which nothing is said: 1."),
        ((0.0, None, None, 0.01), "Settings of which nothing is said: 1."),
    ],
)
def test_every_word_of_a_setting(area: Area, word: str) -> None:
    text = said({FIRST: area})
    assert word in text and ("holds" in text) == (area == ABOVE)
    assert text.count("` at `") in ((0,) if "fails" in text else (7, 8))


def test_a_setting_that_was_not_run_keeps_the_cause_from_failing() -> None:
    text = said(drop=1)
    assert "Cause 1 is undecided." in text and text.endswith("Settings of which nothing is said: 1.")


def test_three_seeds_say_nothing() -> None:
    assert said({FIRST: ABOVE}, n=3) == ""


def forgets(differences: dict[str, tuple[float, float, float]], *, seeds: int = 5, few: str = "") -> str:
    """The line on the penalty; `differences` are of held-out families, `few` is an arm of three seeds."""
    labels = [arm["label"] for arm in PLAN["arms"]]
    splits = [
        {"arm": label, "split": split}
        | dict(zip(("difference", "difference_low", "difference_high"), found, strict=True))
        for label, held in differences.items()
        for split, found in (("heldout", held), ("test", (0.5, 0.4, 0.6)))
    ]
    arms = [
        {
            "arm": label,
            "seeds": 3 if label == few else seeds,
            "lr": "3e-05" if "kl=0.04" in label else "0.0001",
        }
        for label in labels
    ]
    tables = {"splits": pd.DataFrame(splits), "arms": pd.DataFrame(arms)}
    return "\n".join(conservatism(PLAN, lambda name: tables.get(name, pd.DataFrame())))


LESS, OTHER = "clip=none, kl=0.04, steps=200", "clip=0.2, kl=0.04, steps=50"


def test_the_penalty_forgets_less_where_its_interval_lies_above_0_and_rates_stand_beside_it() -> None:
    text = forgets({LESS: (0.05, 0.01, 0.09), OTHER: (0.05, -0.01, 0.11)})
    assert (
        f"it does in 1 of 2 settings, in points: `{LESS}` +5.0 [+1.0, +9.0] (rates 3e-05, without it 0.0001)"
        in text
    )
    assert OTHER not in text
    assert "shown in none of 1 settings" in forgets({OTHER: (0.05, -0.01, 0.11)})


def test_what_the_clip_does_to_other_families_is_not_said() -> None:
    assert forgets({"clip=0.2, kl=none, steps=50": (0.05, 0.01, 0.09)}) == ""


def test_a_penalty_of_three_seeds_or_a_control_of_three_is_not_read() -> None:
    found = {LESS: (0.05, 0.01, 0.09)}
    assert forgets(found, seeds=3) == ""
    assert forgets(found, few=LESS) == "" and forgets(found, few="clip=none, kl=none, steps=200") == ""


def test_the_columns_read_are_those_that_tables_have(
    make_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(make_study(seeds=4))
    above = paired_t([0.05, 0.06, 0.05, 0.06])
    found = [AreaEffect("clip", "0.2", "none", where, above, p) for where, p in (("kl=none", 0.9), ("", 0.9))]
    monkeypatch.setattr(rates, "area_effects", lambda *_, **settings: found)
    table = rates.area_effects_table(study, primary_of(study))
    (line,) = conservatism(PLAN, lambda name: table.raw if name == "area_effects" else pd.DataFrame())
    assert "Cause 1 holds in 1 of 8 settings. Above 0 with `clip=0.2` at `kl=none` (+5.5 [" in line

    monkeypatch.undo()
    monkeypatch.setattr(rule_conservatism, "PENALTY", "objective")
    monkeypatch.setattr(rules, "RULES", {"toy": conservatism})
    (line,) = [text for text in build_report(study, figures=False).answers if "forget less?" in text]
    assert "it does in 2 of 2 settings, in points: `objective=grpo model=xs` +" in line
    assert "(rates 0.0003, without it 0.0003)" in line
