"""Each word on distillation, from constructed studies of some of the preset's arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report.claim_distillation import distillation
from analysis.report.committed import Committed
from analysis.report.own_best import own_best_after
from tests.unit.analysis.report.test_claims import BASE, accuracies, committed

SAMPLED = {"grpo": 0.3}  # a gain of 10 points over 0.2, so the margin is 2.5


def stages(folder: Path, sampled: dict[str, float], greedy: dict[str, float] | None = None) -> Committed:
    arms: dict[str, Any] = {
        name: ({"stage": name}, [BASE, (48, accuracies(avg, (greedy or {}).get(name, 0.5)))])
        for name, avg in {**SAMPLED, **sampled}.items()
    }
    return committed(folder, {"stage": list(arms)}, {"stage": "grpo"}, arms)


@pytest.mark.parametrize(
    ("sampled", "greedy", "word", "teachers"),
    [
        ({"large_rl": 0.36}, {}, "supported", None),
        ({"large_rl": 0.31}, {}, "refuted", None),  # above, and not by the margin
        ({"large_rl": 0.25}, {}, "refuted", None),
        ({"large_rl": 0.325}, {}, "undecided", None),
        ({"large_rl": 0.36}, {"large_rl": 0.45}, "undecided", None),  # greedy says the opposite
        ({"large_rl": 0.31}, {"large_rl": 0.6}, "undecided", None),
        ({"large_rl": 0.36}, {"large_rl": 0.525}, "supported", None),  # greedy does not say
        ({"large": 0.36}, {"large": 0.56}, "supported", None),
        ({"larger": 0.36, "larger_rl": 0.29}, {}, "refuted", "does not matter"),
        ({"large": 0.3, "large_rl": 0.36}, {"large": 0.5, "large_rl": 0.56}, "supported", "matters"),
        ({"large": 0.335, "large_rl": 0.36}, {"large_rl": 0.56}, "supported", "is undecided"),
        ({"large": 0.35, "large_rl": 0.36}, {"large_rl": 0.6}, "supported", "does not matter"),
    ],
)
def test_every_word_on_distillation(
    tmp_path: Path, sampled: dict[str, float], greedy: dict[str, float], word: str, teachers: str | None
) -> None:
    equal = dict.fromkeys(sampled, 0.5 if word == "refuted" else 0.6)  # no opposite, unless given
    said = distillation([stages(tmp_path / "distillation", sampled, {**equal, **greedy, "grpo": 0.5})])
    assert said is not None and said[0] == word
    assert "The margin is 2.5 points." in said[1] and " in greedy answers)" in said[1]
    assert ("RL in the teacher" in said[1]) == (teachers is not None)
    assert teachers is None or f"RL in the teacher {teachers}: " in said[1]
    assert ("its teacher had no RL" in said[1]) == ("large" in sampled and "large_rl" not in sampled)


def test_without_own_rl_or_a_larger_teacher_nothing_is_said(tmp_path: Path) -> None:
    assert distillation([stages(tmp_path / "one", {"own_rl": 0.4})]) is None
    study = stages(tmp_path / "two", {"large_rl": 0.4})
    rows = pd.read_csv(study.folder / "evaluations.csv")
    rows[rows["arm"] != "grpo"].to_csv(study.folder / "evaluations.csv", index=False)
    assert distillation([Committed.read(study.folder)]) is None


def test_three_shared_seeds_cannot_tell(tmp_path: Path) -> None:
    study = stages(tmp_path / "two", {"large_rl": 0.4})
    rows = pd.read_csv(study.folder / "evaluations.csv")
    few = rows[(rows["arm"] != "large_rl") | (rows["seed"] < 3)]
    few.to_csv(study.folder / "evaluations.csv", index=False)
    said = distillation([Committed.read(study.folder)])
    assert said is not None and said[0] == "this study cannot tell"


def test_where_rl_on_oneself_loses_the_margin_is_nothing(tmp_path: Path) -> None:
    study = stages(tmp_path / "d", {"grpo": 0.15, "large_rl": 0.17}, {"large_rl": 0.6})
    said = distillation([study])
    assert said is not None and said[0] == "supported" and "The margin is 0.0 points." in said[1]


def with_samplings(study: Committed, best: dict[str, float]) -> Committed:
    """Rows at temperature 0.5 beside those at 1, better on validation and `best` on the test, by arm."""
    rows = pd.read_csv(study.folder / "evaluations.csv").assign(temperature=1.0, top_p=1.0, main=True)
    cooler = rows[rows["step"] > 0].assign(temperature=0.5, main=False, greedy=None)
    noise = cooler["avg"] - cooler["arm"].map({**SAMPLED, "large_rl": 0.36})
    cooler["avg"] = cooler["arm"].map(best) + noise
    hot, cold = (f.assign(task="v", split="validation", avg=v) for f, v in ((rows, 0.3), (cooler, 0.4)))
    pd.concat([rows, cooler, hot, cold]).to_csv(study.folder / "evaluations.csv", index=False)
    return Committed.read(study.folder)


@pytest.mark.parametrize(("best", "word"), [(0.5, "undecided"), (0.525, "supported"), (0.6, "supported")])
def test_own_best_temperatures_must_not_say_the_opposite(tmp_path: Path, best: float, word: str) -> None:
    study = stages(tmp_path / "d", {"large_rl": 0.36}, {"large_rl": 0.6})
    study = with_samplings(study, {"grpo": 0.5, "large_rl": best})
    assert own_best_after(study, "large_rl").mean() == pytest.approx(best)
    said = distillation([study])
    assert said is not None and said[0] == word and "at own best temperatures" in said[1]


def test_the_own_best_is_chosen_on_validation_and_not_on_the_test(tmp_path: Path) -> None:
    study = stages(tmp_path / "d", {"large_rl": 0.36})
    study = with_samplings(study, {"grpo": 0.1, "large_rl": 0.1})
    assert own_best_after(study, "large_rl").mean() == pytest.approx(0.1)  # 0.36 at temperature 1
    rows = pd.read_csv(study.folder / "evaluations.csv")
    rows.loc[(rows["task"] == "v") & (rows["seed"] == 0) & rows["main"], "avg"] = 0.45
    rows.to_csv(study.folder / "evaluations.csv", index=False)
    chosen = own_best_after(Committed.read(study.folder), "large_rl")
    assert chosen[0] == pytest.approx(0.36, abs=0.01) and chosen[1] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("tokens", "word"), [(49, "undecided"), (50, "supported"), (120, "supported")])
def test_a_student_that_trained_on_few_tokens_decides_nothing(tmp_path: Path, tokens: int, word: str) -> None:
    study = stages(tmp_path / "distillation", {"large_rl": 0.36}, {"large_rl": 0.525})
    rows = [
        ("grpo", 1, False, 100),
        ("grpo", 0, False, 10_000),  # all stages together
        ("large_rl", 1, True, 10_000),  # the teacher's own
        ("large_rl", 2, False, tokens),
        ("large_rl", 0, False, 10_000),
    ]
    columns = ["arm", "index", "teacher", "trained_tokens"]
    pd.DataFrame(rows, columns=columns).to_csv(study.folder / "stages.csv", index=False)
    said = distillation([Committed.read(study.folder)])
    assert said is not None and said[0] == word
    assert ("49 % of the tokens that RL on itself did" in said[1]) == (word == "undecided")


def test_what_a_teachers_own_stages_added_to_it_is_said(tmp_path: Path) -> None:
    study = stages(tmp_path / "d", {"large": 0.35, "large_rl": 0.36})
    row = {"arm": "large_rl", "index": 1, "stage": "teacher_large", "teacher": True, "trained_tokens": 10}
    own = row | {"index": 2, "stage": "large_rl", "teacher": False}
    added = {"added": 0.125, "added_low": 0.1, "added_high": 0.15}
    for numbers, part in (
        (added, " The teacher itself had +12.5 points [+10.0, +15.0] from teacher_large."),
        (dict.fromkeys(added), None),  # as tables were at first
    ):
        pd.DataFrame([row | numbers, own | added]).to_csv(study.folder / "stages.csv", index=False)
        said = distillation([Committed.read(study.folder)])
        assert said is not None and ("The teacher itself" in said[1]) == (part is not None)
        assert part is None or said[1].endswith(part)
