"""Each word on self-evolution, from a constructed study's `discovery.csv`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report.claim_discovery import self_evolution
from analysis.report.claims import claims_section
from analysis.report.committed import Committed
from tests.unit.analysis.report.test_claims import BASE, accuracies, committed

ARMS = ("grpo", "sft", "coin", "memoriser", "ceiling")
Ends = tuple[float | None, float | None, float | None]
NONE: Ends = (None, None, None)
NOTHING: dict[str, Ends] = {
    "over_best": (0.002, -0.01, 0.014),
    "gain": (0.002, -0.01, 0.014),
    "beyond": (0.01, -0.01, 0.03),
    "crossing": (3.0, 1.0, 12.0),
    "unseen": (0.0, 0.0, 0.0),
}
RISEN: dict[str, Ends] = {
    "over_best": (0.3, 0.2, 0.4),
    "gain": (0.3, 0.2, 0.4),
    "beyond": (0.25, 0.15, 0.35),
    "crossing": (None, 200.0, None),
    "unseen": (0.5, 0.4, 0.6),
}
ABOVE: dict[str, Ends] = {"base_pass": (0.5, 0.4, 0.6)}


def discovery(
    folder: Path,
    found: dict[str, dict[str, Ends]],
    *,
    base_pass: Ends = (0.12, 0.08, 0.16),
    samples: int = 256,
    sizes: tuple[str, ...] = ("s",),
    right: float = 0.2,
) -> Committed:
    """A study of every arm at `sizes`; `found` has what differs from NOTHING, by arm or `arm, size`.

    `right` is the accuracy after training, 0.2 before.
    """
    arms: dict[str, Any] = {
        f"{arm}, {size}": ({"arm": arm, "model": size}, [BASE, (24, accuracies(right))])
        for arm in ARMS
        for size in sizes
    }
    factors = {"arm": list(ARMS), "model": list(sizes)}
    study = committed(folder, factors, {"arm": "memoriser", "model": sizes[0]}, arms)
    plan = json.loads((folder / "study.json").read_text())
    plan["declared"] |= {"family": ["grpo", "sft"], "nulls": ["coin"], "ceiling": "ceiling", "margin": 0.1}
    (folder / "study.json").write_text(json.dumps(plan))
    rows: list[dict[str, Any]] = []
    for label in arms:
        arm = label.split(", ")[0]
        usual = RISEN if arm == "ceiling" else NOTHING
        own = {**usual, "base_pass": base_pass, **found.get(arm, {}), **found.get(label, {})}
        row = {"task": "t", "arm": label, "k": min(256, samples), "samples": samples, "chance": 0.004}
        for name, ends in own.items():
            first = f"{name}_k" if name == "crossing" else name
            row |= dict(zip((first, f"{name}_low", f"{name}_high"), ends, strict=True))
        rows += [row, row | {"task": "other", "over_best": 9.0, "over_best_low": 9.0, "beyond": 9.0}]
    pd.DataFrame(rows).to_csv(folder / "discovery.csv", index=False)
    return Committed.read(study.folder)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ({"grpo": RISEN}, "shown"),
        ({"sft": RISEN}, "shown"),
        ({"coin": RISEN}, "this study cannot tell"),  # a coin flip teaches nothing: the rise is no answers'
        ({"coin": {"beyond": (0.2, 0.1, 0.3)}, "grpo": RISEN}, "this study cannot tell"),
        ({"grpo": {**RISEN, "over_best": (0.09, 0.05, 0.13)}}, "undecided"),  # (i) asks for 10 points
        ({"grpo": {**RISEN, "over_best": (0.12, -0.01, 0.25)}}, "undecided"),
        ({"grpo": {**RISEN, "beyond": (0.09, 0.05, 0.13)}}, "undecided"),  # (ii) asks for 10 %
        ({"grpo": {**RISEN, "beyond": (0.11, 0.003, 0.2)}}, "undecided"),  # chance is 0.4 %
        ({"grpo": {**RISEN, "over_best": NONE}}, "this study cannot tell"),
        ({}, "refuted at this scale"),
        ({"grpo": {"unseen": NONE}}, "refuted at this scale"),  # no valid chain at all
        ({"grpo": {"unseen": (0.01, -0.01, 0.03)}}, "undecided"),
        ({"sft": {"crossing": (None, 30.0, None)}}, "undecided"),
        ({"memoriser": {"over_best": (0.2, 0.1, 0.3)}, "grpo": RISEN}, "this study cannot tell"),
        ({"memoriser": {"beyond": (0.2, 0.1, 0.3)}, "grpo": RISEN}, "this study cannot tell"),
        ({"ceiling": NOTHING}, "this study cannot tell"),
        ({"ceiling": NOTHING, "grpo": RISEN}, "shown"),
    ],
)
def test_every_word_on_self_evolution(tmp_path: Path, found: dict[str, dict[str, Ends]], word: str) -> None:
    said = self_evolution([discovery(tmp_path / "self_evolution", found)])
    assert said is not None and said[0] == word


@pytest.mark.parametrize(
    ("base_pass", "samples", "word", "reason"),
    [
        ((0.04, 0.03, 0.05), 256, "this study cannot tell", "below 5 %: out of reach"),
        ((0.31, 0.2, 0.4), 256, "this study cannot tell", "above 30 %: nothing to discover"),
        ((0.12, 0.1, 0.14), 128, "this study cannot tell", "fewer than 256 samples a problem"),
        ((0.05, 0.0, 0.1), 256, "shown", ""),
    ],
)
def test_what_lies_out_of_reach_decides_nothing(
    tmp_path: Path, base_pass: Ends, samples: int, word: str, reason: str
) -> None:
    study = discovery(tmp_path / "s", {"grpo": RISEN}, base_pass=base_pass, samples=samples)
    said = self_evolution([study])
    assert said is not None and said[0] == word and reason in said[1]


def test_a_memoriser_without_a_single_chain_has_no_interval_and_gains_nothing(tmp_path: Path) -> None:
    zero: dict[str, Ends] = dict.fromkeys(("over_best", "gain", "beyond"), (0.0, None, None))
    said = self_evolution([discovery(tmp_path / "s", {"memoriser": zero, "grpo": RISEN})])
    assert said is not None and said[0] == "shown" and "and 0.0 (`memoriser`) points" in said[1]


def test_three_seeds_are_too_few(tmp_path: Path) -> None:
    study = discovery(tmp_path / "s", {"grpo": RISEN})
    rows = pd.read_csv(study.folder / "evaluations.csv")
    rows[(rows["arm"] != "memoriser, s") | (rows["seed"] < 3)].to_csv(
        study.folder / "evaluations.csv", index=False
    )
    said = self_evolution([Committed.read(study.folder)])
    assert said is not None and said[0] == "this study cannot tell" and "fewer than four seeds" in said[1]


@pytest.mark.parametrize(
    ("small", "large", "word"),
    [
        (NOTHING, RISEN, "shown"),  # at some size
        (NOTHING, NOTHING | ABOVE, "refuted at this scale"),  # of those that can tell
        (NOTHING, {**NOTHING, "unseen": (0.1, 0.0, 0.2)}, "undecided"),
        (RISEN | ABOVE, RISEN | ABOVE, "this study cannot tell"),
    ],
)
def test_one_size_is_enough_to_show_and_every_one_to_refute(
    tmp_path: Path, small: dict[str, Ends], large: dict[str, Ends], word: str
) -> None:
    found = {f"{arm}, {size}": own for arm in ("grpo", "sft") for size, own in (("s", small), ("m", large))}
    said = self_evolution([discovery(tmp_path / "s", found, sizes=("s", "m"))])
    assert said is not None and said[0] == word
    assert "At `s` the base" in said[1] and "At `m` the base" in said[1] and " Here: " in said[1]


def test_the_sentence_has_the_intervals_and_names_guesses(tmp_path: Path) -> None:
    study = discovery(tmp_path / "self_evolution", {"grpo": RISEN}, right=0.35)
    said = self_evolution([study])
    assert said is not None
    assert (
        "+30.0 [+20.0, +40.0] (`grpo`), +0.2 [−1.0, +1.4] (`sft`) and +0.2 [−1.0, +1.4] (`memoriser`)"
        in said[1]
    )
    assert "25.0 [15.0, 35.0], by chance 0.4 (`grpo`)" in said[1] and "12.0 [8.0, 16.0] % of" in said[1]
    assert "k = >256 [200, >256] (`grpo`) and 3 [1, 12] (`sft`)" in said[1]
    assert "With `sft` right answers rise by +15.0 [" in said[1] and "With `grpo` right" not in said[1]
    page = "".join(claims_section([study]))
    assert "that no one showed it: shown.**" in page and "[self_evolution](self_evolution/report.md)" in page


def test_chains_that_may_have_risen_as_much_are_no_guesses(tmp_path: Path) -> None:
    wide: dict[str, Ends] = {"gain": (0.15, -0.06, 0.36)}
    said = self_evolution([discovery(tmp_path / "s", {"sft": wide}, right=0.35)])
    assert said is not None and "With `grpo` right answers rise" in said[1]
    assert "With `sft` right" not in said[1]


def test_without_the_table_or_the_memoriser_nothing_is_said(tmp_path: Path) -> None:
    study = discovery(tmp_path / "s", {"grpo": RISEN})
    rows = pd.read_csv(study.folder / "discovery.csv")
    rows[rows["arm"] != "memoriser, s"].to_csv(study.folder / "discovery.csv", index=False)
    assert self_evolution([Committed.read(study.folder)]) is None
    (study.folder / "discovery.csv").unlink()
    assert self_evolution([Committed.read(study.folder)]) is None


def test_families_that_differ_are_named_with_what_the_base_reaches_of_each(tmp_path: Path) -> None:
    study = discovery(tmp_path / "s", {"grpo": RISEN})
    ends = {"digits": (0.6, 0.5, 0.7), "mod": (0.02, -0.01, 0.05)}
    row = {"arm": "grpo, s", "of": "gain over base", "by": "family"}
    rows = [
        row | {"group": name, **dict(zip(("estimate", "low", "high"), own, strict=True))}
        for name, own in ends.items()
    ]
    pd.DataFrame(rows).to_csv(study.folder / "families.csv", index=False)
    part = "+60.0 [+50.0, +70.0] points of `digits`{} and +2.0 [−1.0, +5.0] points of `mod`{}."
    for listed, digits, mod in (
        (None, "", ""),  # as tables were at first
        (
            "digits=0.2917; mod=0.0104",
            ", of which the base reaches 29.2 %",
            ", of which the base reaches 1.0 %",
        ),
    ):
        table = pd.read_csv(study.folder / "discovery.csv")
        table.assign(base_pass_by_family=listed).to_csv(study.folder / "discovery.csv", index=False)
        said = self_evolution([Committed.read(study.folder)])
        assert said is not None and said[0] == "shown for `digits`, not for `mod`"
        assert part.format(digits, mod) in said[1]
