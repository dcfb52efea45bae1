"""Each word of the rule on spurious rewards, from constructed tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report.committed import Committed
from analysis.report.rule_spurious import spurious
from analysis.report.rules import committed_lines

REFERENCE = Path(__file__).resolve().parents[4] / "outputs" / "reference"
REWARDS, CORPORA = ("random", "format", "inverted", "accuracy"), ("mixed", "leaked")
Ends = tuple[float | None, float | None, float | None]
NOTHING: Ends = (0.0, -0.01, 0.01)
RISEN: Ends = (0.05, 0.03, 0.07)
MORE: Ends = (0.04, 0.02, 0.06)
TRUE: Ends = (0.12, 0.10, 0.14)  # a quarter: 3 points
NOISE = (0.001, -0.001, 0.002, -0.002, 0.0)

PLAN: dict[str, Any] = {
    "factors": {"reward": list(REWARDS), "corpus": list(CORPORA)},
    "control": {"reward": "random", "corpus": "mixed"},
    "primary": {"factor": "reward", "split": "test", "metric": "avg"},
    "declared": {"nulls": ["random"]},
    "arms": [{"label": f"{r}, {c}", "levels": {"reward": r, "corpus": c}} for r in REWARDS for c in CORPORA],
}


def columns(name: str, ends: Ends) -> dict[str, float | None]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def said(
    gains: dict[str, Ends] | None = None,
    *,
    more: Ends = NOTHING,
    p_holm: float | None = 0.9,
    test: float = 0.1,
    validation: float = 0.0,
    seeds: int = 5,
    bases: int = 5,
    drop: str = "",
) -> str:
    """The lines of a study whose leaked bases are `test` and `validation` above clean ones.

    `gains` by label, 0 where not given and 12 points for the true reward; `drop` is an arm that was not run.
    """
    labels = [arm["label"] for arm in PLAN["arms"] if arm["label"] != drop]
    known = {label: TRUE if label.startswith("accuracy") else NOTHING for label in labels} | (gains or {})
    best = [{"arm": label, **columns("best_gain", (0.001, -0.02, 0.022))} for label in labels]
    rows = [
        {"arm": label, "seed": seed, "step": 0, "task": split, "split": split, "main": main}
        | {"avg": (0.2 if main else 0.9) + (rise + NOISE[seed] * (2 if split == "test" else 3)) * leaked}
        for label in labels
        for leaked in [label.endswith("leaked")]
        for split, rise in (("test", test), ("validation", validation))
        for seed in range(bases)
        for main in (True, False)
    ]
    tables = {
        "arms": pd.DataFrame(
            [{"arm": label, "seeds": seeds, **columns("gain_over_base", known[label])} for label in labels]
        ),
        "interactions": pd.DataFrame(
            [
                {"level": reward, "factor": "corpus", "at": "leaked", "seeds": seeds, "p_holm": p_holm}
                | columns("more", more if reward == "format" else (0.5, 0.4, 0.6))
                for reward in REWARDS[1:]
            ]
        ),
        "anatomy": pd.DataFrame(best),
        "evaluations": pd.DataFrame(rows),
    }
    return "\n".join(spurious(PLAN, lambda name: tables.get(name, pd.DataFrame())))


def test_the_committed_study_is_read_from_its_files() -> None:
    """Its leaked bases are 10 points above clean ones on the test, and no reward that knows nothing gains."""
    rewards, contamination = committed_lines(Committed.read(REFERENCE / "spurious"))
    assert "on clean bases −0.5 [−1.3, +0.3] (`random`), −0.4 [−0.9, +0.1] (`format`) and −17.6 [" in rewards
    assert "on leaked bases −0.4 [−0.9, 0.0] (`random`)" in rewards and "(`accuracy`)" not in rewards
    assert rewards.endswith("None of them lies above 0.")
    assert contamination.startswith("Contamination? Leaked bases are +10.0 [+6.0, +14.0] points above clean")
    assert contamination.endswith("There is no gain to explain.")


def test_a_reward_is_spurious_by_its_interval_and_on_the_corpus_where_it_gains() -> None:
    text = said({"format, leaked": RISEN, "inverted, mixed": (0.05, -0.001, 0.101)})
    assert "Spurious: `format` on leaked bases.\n" in text
    assert "Spurious: `random` on clean bases and `format` on leaked bases.\n" in said(
        {"format, leaked": RISEN, "random, mixed": RISEN}
    )
    assert "Spurious:" not in said({"accuracy, leaked": RISEN}) and "to explain." in said()


@pytest.mark.parametrize(
    ("clean", "leaked", "more", "p_holm", "word"),
    [
        (NOTHING, RISEN, MORE, 0.05, "contamination explains its gain."),
        (
            RISEN,
            RISEN,
            MORE,
            0.05,
            "contamination explains a part of its gain, as it gains on clean bases too.",
        ),
        (NOTHING, RISEN, MORE, 0.051, "whether contamination explains its gain is undecided."),
        (NOTHING, RISEN, MORE, None, "whether contamination explains its gain is undecided."),
        (RISEN, NOTHING, MORE, 0.01, "whether contamination explains its gain is undecided."),  # none there
        (RISEN, RISEN, (-0.04, -0.06, -0.02), 0.01, "whether contamination explains its gain is undecided."),
        (RISEN, RISEN, (0.0, -0.03, 0.03), 0.9, "contamination does not explain its gain."),
        (RISEN, RISEN, (0.0, -0.031, 0.02), 0.9, "whether contamination explains its gain is undecided."),
        (RISEN, RISEN, (0.0, -0.02, 0.031), 0.9, "whether contamination explains its gain is undecided."),
        (NOTHING, RISEN, (0.02, 0.01, 0.03), 0.01, "undecided: more is shown, and it is within the margin."),
    ],
)
def test_every_word_on_contamination(
    clean: Ends, leaked: Ends, more: Ends, p_holm: float | None, word: str
) -> None:
    text = said({"format, mixed": clean, "format, leaked": leaked}, more=more, p_holm=p_holm)
    assert text.count("contamination") == 1 and word in text
    assert "the margin is 3.0 points, a quarter of the true reward's gain on clean bases" in text
    assert "it gains +0.1 [−2.0, +2.2] on leaked bases and +0.1 [−2.0, +2.2] on clean ones" in text


def test_without_a_true_gain_on_clean_bases_nothing_is_within_a_quarter_of_it() -> None:
    gains: dict[str, Ends] = {"format, leaked": RISEN, "accuracy, mixed": (0.12, -0.01, 0.25)}
    text = said(gains, more=(0.0, -0.001, 0.001))
    assert "the true reward has no gain on clean bases" in text and "is undecided." in text
    assert "contamination explains its gain." in said(gains, more=MORE, p_holm=0.01)


@pytest.mark.parametrize(
    ("test", "validation", "reason"),
    [
        (0.0005, 0.0, "leaked bases are not above clean ones on the test (+0.1 [−0.3, +0.4] points)"),
        (0.1, 0.1, "and on validation, which is not leaked (+10.0 ["),
        (-0.1, 0.0, "leaked bases are not above clean ones on the test (−10.0 ["),
    ],
)
def test_nothing_is_said_of_contamination_unless_the_test_alone_is_remembered(
    test: float, validation: float, reason: str
) -> None:
    text = said({"format, leaked": RISEN}, more=MORE, p_holm=0.01, test=test, validation=validation)
    assert "Spurious: `format` on leaked bases.\nContamination? Nothing is said of it: " in text
    assert reason in text and "explain" not in text


@pytest.mark.parametrize(
    ("clean", "leaked", "word"),
    [
        ((0.01, 0.005, 0.015), RISEN, "it is larger on leaked bases."),
        ((0.04, 0.02, 0.06), RISEN, "they overlap."),
        (RISEN, (0.04, 0.02, 0.06), "they overlap."),
        (RISEN, NOTHING, "it is larger on clean bases."),
        ((0.01, None, None), RISEN, "and one of them is missing."),
    ],
)
def test_the_random_reward_is_compared_by_its_two_intervals(clean: Ends, leaked: Ends, word: str) -> None:
    text = said({"random, mixed": clean, "random, leaked": leaked}, more=MORE, p_holm=0.01)
    assert (
        f"The gain of `random` is compared by its two intervals alone{', ' if 'and' in word else ': '}"
        in text
    )
    assert text.endswith(word.removeprefix(", "))


def test_what_was_not_run_or_has_no_interval_is_left_out() -> None:
    text = said({"format, leaked": RISEN}, more=(0.04, None, None), p_holm=None)
    assert "Of `format` nothing is said: its interaction with the corpus has no interval." in text
    text = said({"format, leaked": (0.05, None, None)}, drop="random, leaked")
    assert "on leaked bases 0.0 [−1.0, +1.0] (`inverted`)." in text
    assert said(seeds=3) == ""


def test_bases_of_three_seeds_are_not_told_apart() -> None:
    text = said({"format, leaked": RISEN}, more=MORE, p_holm=0.01, bases=3)
    assert text.endswith("how leaked and clean bases differ on the test and on validation is not known.")


def test_without_leaked_bases_contamination_is_not_mentioned() -> None:
    plan = {**PLAN, "arms": [arm for arm in PLAN["arms"] if arm["levels"]["corpus"] == "mixed"]}
    arms = pd.DataFrame(
        [{"arm": arm["label"], "seeds": 5, **columns("gain_over_base", RISEN)} for arm in plan["arms"]]
    )
    lines = spurious(plan, lambda name: arms if name == "arms" else pd.DataFrame())
    assert len(lines) == 1 and "`inverted` on clean bases" in lines[0] and "leaked" not in lines[0]
