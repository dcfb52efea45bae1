"""The rule on distillation: conf/ablation/distillation.yaml's criteria, from whichever arms were run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.report.claim_words import CANNOT_TELL, REFUTED, SUPPORTED, UNDECIDED
from analysis.report.committed import SMOKE_SEEDS, Committed
from analysis.report.own_best import own_best_after
from analysis.report.verdict_text import size_text
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.margins import Margin
from analysis.stats.text import points

OWN_RL = "grpo"
TEACHERS = ("large_rl", "larger_rl", "large", "larger")  # the first that was run decides
PAIRS = (("large_rl", "large"), ("larger_rl", "larger"))  # after and before RL in the teacher
FEWEST = 0.5  # of the tokens that RL on oneself trains on: a student of fewer decides nothing
MEASURES = {"avg": "", "best": "at own best temperatures", "greedy": "in greedy answers"}
ABOVE, NOT_ABOVE, OPEN = "above", "not above", "open"
BySeed = Mapping[str, "pd.Series[Any]"]  # measure -> accuracy after training, by seed


def distillation(studies: Sequence[Committed]) -> tuple[str, str] | None:
    """Judge the first teacher's student against RL on oneself, and RL in the teacher beside it."""
    study = studies[0]
    arms = {level: study.arms_at([level])[0] for level in study.plan["factors"].get(study.factor, [])}
    arms = {level: label for level, label in arms.items() if label in study.accuracy}
    teacher = next((level for level in TEACHERS if level in arms), None)
    if OWN_RL not in arms or teacher is None:
        return None
    after = {level: _after(study, label) for level, label in arms.items()}
    ends = study.accuracy[arms[OWN_RL]]
    gains = (ends.after["avg"] - ends.before["avg"]).dropna()
    if len(after[teacher]["avg"].index.intersection(gains.index)) <= SMOKE_SEEDS:
        return CANNOT_TELL, f"In `{study.name}` `{teacher}` and `{OWN_RL}` share fewer than four seeds."
    margin = Margin.read(study.plan["declared"].get("margin")) or Margin(0.25, of_gain=True)
    word, said = _compared(after[teacher], after[OWN_RL], gains, margin)
    before_rl = " (its teacher had no RL)" if not teacher.endswith("_rl") else ""
    text = f"The student of `{teacher}`{before_rl} is {said} than after RL on itself (`{OWN_RL}`)."
    size = _size(gains, margin).mean()
    text += f" The margin is {points(float(size))} points."
    if (share := _trained_share(study, arms[teacher], arms[OWN_RL])) is not None and share < FEWEST:
        word = UNDECIDED
        text += f" But the student trained on {share:.0%} of the tokens that RL on itself did.".replace(
            "%", " %"
        )
    if (ratio := _flops_ratio(study, arms[teacher], arms[OWN_RL])) is not None:
        text += f" With its teacher's RL and sampling it spent {ratio:.1f} times the FLOPs."
    for trained, plain in PAIRS:
        if trained in after and plain in after:
            text += _of_teachers(after, (trained, plain), gains, margin)
            text += _teachers_own(study, arms[trained])
    return word, text


def _trained_share(study: Committed, arm: str, other: str) -> float | None:
    """Tokens that an arm's own model trained on, over those of another arm's; None where not known."""
    rows = study.table("stages")
    if rows.empty:
        return None
    own = rows[(rows["index"] > 0) & ~rows["teacher"].astype(bool)].groupby("arm")["trained_tokens"].sum()
    return float(own[arm] / own[other]) if arm in own and own.get(other, 0) > 0 else None


def _flops_ratio(study: Committed, arm: str, other: str) -> float | None:
    """FLOPs of all stages of an arm, its teacher's included, over those of another arm; None if not known."""
    rows = study.table("stages")
    if rows.empty or "flops" not in rows:
        return None
    spent = rows[rows["stage"] != "all stages"].groupby("arm")["flops"].sum()
    return float(spent[arm] / spent[other]) if arm in spent and spent.get(other, 0) > 0 else None


def _of_teachers(after: Mapping[str, BySeed], pair: tuple[str, str], gains: Any, margin: Margin) -> str:
    """What RL in the teacher adds, by the same rule."""
    word, said = _compared(after[pair[0]], after[pair[1]], gains, margin)
    matters = {SUPPORTED: "matters", REFUTED: "does not matter"}.get(word, "is undecided")
    return f" RL in the teacher {matters}: `{pair[0]}` is {said} than `{pair[1]}`."


def _teachers_own(study: Committed, arm: str) -> str:
    """What its stages added to the teacher itself: without a gain there, RL in it could not matter."""
    rows = study.table("stages")
    if rows.empty:
        return ""
    own = rows[(rows["arm"] == arm) & rows["teacher"].astype(bool)].dropna(subset=["added", "added_low"])
    if own.empty:  # `added` of a teacher was not recorded at first
        return ""
    said = []
    for _, row in own.iterrows():
        size, low, high = (points(float(row[f"added{end}"]), signed=True) for end in ("", "_low", "_high"))
        said.append(f"{size} points [{low}, {high}] from {row['stage']}")
    return f" The teacher itself had {', '.join(said)}."


def _compared(arm: BySeed, other: BySeed, gains: Any, margin: Margin) -> tuple[str, str]:
    """The word on `arm` above `other` by more than the margin, and `1.5 points higher [0.9, 2.1] (...)`.

    Samples decide, unless greedy answers or those at own best temperatures say the opposite.
    """
    found = {
        name: _read(arm[name] - other[name], gains, margin)
        for name in MEASURES
        if name in arm and name in other
    }
    reading, difference = found["avg"]
    opposite = {ABOVE: NOT_ABOVE, NOT_ABOVE: ABOVE}.get(reading)
    agreed = all(name == "avg" or own != opposite for name, (own, _) in found.items())
    word = {ABOVE: SUPPORTED, NOT_ABOVE: REFUTED}.get(reading, UNDECIDED) if agreed else UNDECIDED
    others = [f"{size_text(d)} {MEASURES[name]}" for name, (_, d) in found.items() if name != "avg"]
    return word, size_text(difference) + (f" ({'; '.join(others)})" if others else "")


def _read(differences: Any, gains: Any, margin: Margin) -> tuple[str, Interval]:
    """Whether the difference exceeds the margin, over the seeds that both have; and its interval."""
    both = pd.concat([differences.rename("d"), _size(gains, margin).rename("m")], axis=1).dropna()
    excess = paired_t((both["d"] - both["m"]).tolist())
    if excess.low is None or excess.high is None:
        return OPEN, paired_t(both["d"].tolist())
    reading = ABOVE if excess.low > 0 else NOT_ABOVE if excess.high < 0 else OPEN
    return reading, paired_t(both["d"].tolist())


def _size(gains: Any, margin: Margin) -> pd.Series[Any]:
    """The margin in accuracy at each seed, so that its spread counts; 0 where RL on itself loses."""
    if not margin.of_gain:
        return pd.Series(margin.value, index=gains.index)
    return gains * margin.value if gains.mean() > 0 else gains * 0.0


def _after(study: Committed, arm: str) -> BySeed:
    """Accuracy after training by seed: sampled, greedy, and at the own best temperature where it is known."""
    rows = study.accuracy[arm].after
    found = {name: rows[name] for name in ("avg", "greedy") if name in rows}
    best = own_best_after(study, arm)
    return {**found, **({"best": best} if len(best) > SMOKE_SEEDS else {})}
