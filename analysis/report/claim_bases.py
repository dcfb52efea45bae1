"""Rules on studies whose bases were pretrained until one accuracy: by kind of problems, and by size.

Both say that they cannot tell where the bases are not as near to that accuracy as was declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.claim_rules import along, grows_with, slope_over_log10
from analysis.report.claim_words import CANNOT_TELL, REFUTED, SUPPORTED, UNDECIDED, each
from analysis.report.committed import SMOKE_SEEDS, Committed
from analysis.report.own_best import own_best_after, own_best_at
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import interval_text, number_text, points

SHARE = 0.25  # of reasoning's slope, or of the gain: what a difference has to exceed
NEAR = 0.03  # of the bases' mean greedy accuracy on the test problems to the stated one
FACTOR, KINDS, KINDS_AT = "kind", ("reasoning", "general"), 0.30
SIZES_AT = 0.35
OCTAVES = 3  # the last ones, over which slopes are taken
PLATEAU = 0.25  # of the gain: more in the last octave is no plateau


def by_kind(studies: Sequence[Committed]) -> tuple[str, str] | None:
    """Reasoning's slope over the last octaves of steps against that of general tasks, under GRPO.

    Every setting of the other factors has to say the same. None without both kinds.
    """
    study = studies[0]
    by_setting: dict[tuple[str, ...], dict[str, str]] = {}
    for arm in study.plan["arms"]:
        others = {name: level for name, level in arm["levels"].items() if name != FACTOR}
        if others.get("objective", "grpo") == "grpo" and arm["label"] in study.accuracy:
            by_setting.setdefault(tuple(others.values()), {})[arm["levels"][FACTOR]] = arm["label"]
    found = [
        (", ".join(others), *_kinds_apart(study, [labels[kind] for kind in KINDS]))
        for others, labels in by_setting.items()
        if set(KINDS) <= set(labels)
    ]
    if not found:
        return None
    telling = {word for _, word, _ in found if word != CANNOT_TELL}
    word = CANNOT_TELL if not telling else telling.pop() if len(telling) == 1 else UNDECIDED
    return word, " ".join(f"With `{name}` {said}" if name else f"Here {said}" for name, _, said in found)


def _kinds_apart(study: Committed, arms: Sequence[str]) -> tuple[str, str]:
    """The word and the sentence of one setting; `arms` are those of KINDS."""
    if reason := _unmatched(study, dict(zip(arms, KINDS, strict=True)), KINDS_AT):
        return CANNOT_TELL, f"nothing is compared: {reason}."
    slopes = pd.concat([_slopes(study, arm, best=True) for arm in arms], axis=1, keys=KINDS).dropna()
    if len(slopes) <= SMOKE_SEEDS:
        return CANNOT_TELL, "nothing is compared: fewer than four seeds have four checkpoints of both kinds."
    reasoning, general = (paired_t(slopes[kind].tolist()) for kind in KINDS)
    gaps = slopes[KINDS[0]] - slopes[KINDS[1]]
    gap, excess = paired_t(gaps.tolist()), paired_t((gaps - SHARE * slopes[KINDS[0]]).tolist())
    word = UNDECIDED
    if _above(excess) and _above(reasoning):
        word = SUPPORTED
    elif gap.high is not None and gap.high <= 0:
        word = REFUTED
    greedy = pd.concat([_slopes(study, arm, best=False) for arm in arms], axis=1, keys=KINDS).dropna()
    also = paired_t((greedy[KINDS[0]] - greedy[KINDS[1]]).tolist()) if len(greedy) > SMOKE_SEEDS else None
    if also is not None and ((word == SUPPORTED and _below(also)) or (word == REFUTED and _above(also))):
        word = UNDECIDED
    said = (
        f"twice the steps add {_log_odds(reasoning)} to the log odds of a right answer to reasoning problems "
        f"and {_log_odds(general)} to general ones, over the last {OCTAVES} octaves and at own best "
        f"temperatures: a difference of {_log_odds(gap)}"
    )
    return word, said + (f" ({_log_odds(also)} in greedy answers)." if also is not None else ".")


def _slopes(study: Committed, arm: str, *, best: bool) -> pd.Series[Any]:
    """By seed: log odds that a doubling of the steps adds, over the last octaves."""
    rows = study.main_rows
    own = rows[(rows["arm"] == arm) & (rows["step"] > 0)]
    steps = [int(step) for step in sorted(own["step"].unique()) if step * 2**OCTAVES >= own["step"].max()]
    if len(steps) <= OCTAVES:
        return pd.Series(dtype=float)
    columns = {
        step: own_best_at(study, [arm], step)
        if best
        else own[own["step"] == step].set_index("seed")["greedy"]
        for step in steps
    }
    shares = pd.DataFrame(columns).dropna()
    least = 0.5 / float(own["n_problems"].iloc[0])  # half a problem: log odds of 0 or 1 are not finite
    odds = shares.clip(least, 1 - least).map(lambda p: np.log(p / (1 - p)))
    return odds.apply(lambda row: float(np.polyfit(np.log2(steps), row, 1)[0]), axis=1)


def with_parameters(studies: Sequence[Committed]) -> tuple[str, str] | None:
    """Judge by the study of bases of equal accuracy (`size`), else by that of equal documents."""
    if studies[0].name != "size":
        return grows_with("model", "parameters")(studies)
    return _at_equal_bases(studies[0])


@dataclass(frozen=True)
class _Sizes:
    """Gains of each size by seed, at own best temperatures and greedy, in [0, 1]."""

    best: dict[float, pd.Series[Any]]
    greedy: dict[float, pd.Series[Any]]


def _at_equal_bases(study: Committed) -> tuple[str, str] | None:
    """Whether ten times the parameters add more than a quarter of the mean gain."""
    arms = {x: arm for x, arm in along(study, "model").items() if arm in study.accuracy}
    if len(arms) < 2:
        return None
    named = {arm: f"{x / 1e6:.2g}M" for x, arm in arms.items()}
    if reason := _unmatched(study, named, SIZES_AT) or _rising(study, named):
        return CANNOT_TELL, f"In `size` nothing is compared: {reason}."
    sizes = _gains(study, arms)
    table = pd.DataFrame({np.log10(x): gain for x, gain in sizes.best.items()}).dropna()
    slope, greedy = slope_over_log10(sizes.best), slope_over_log10(sizes.greedy)
    if len(table) <= SMOKE_SEEDS or slope is None or greedy is None:
        return CANNOT_TELL, "In `size` fewer than four seeds have every size at own best temperatures."
    mean = table.mean(axis=1)
    by_seed = table.apply(lambda row: float(np.polyfit(table.columns, row, 1)[0]), axis=1)
    gain, excess = paired_t(mean.tolist()), paired_t((by_seed - SHARE * mean).tolist())
    said = (
        f"From bases of equal accuracy GRPO gains {interval_text(gain, signed=True)} points on average over "
        f"{each(list(named.values()))} parameters, at own best temperatures. Ten times the parameters add "
        f"{interval_text(slope, signed=True)} points to that and {interval_text(greedy, signed=True)} to the "
        "gain in greedy answers (`size`)."
    )
    if not _above(gain):
        return CANNOT_TELL, said + " There is no gain that could grow."
    word = SUPPORTED if _above(excess) else REFUTED if _below(excess) else UNDECIDED
    opposite = (word == SUPPORTED and _below(greedy)) or (word == REFUTED and _above(greedy))
    return (UNDECIDED if opposite else word), said


def _gains(study: Committed, arms: dict[float, str]) -> _Sizes:
    """The base's rows at other temperatures stand at one of the arms that share it: those of a size."""
    best, greedy = {}, {}
    for x, arm in arms.items():
        size = next(a["levels"]["model"] for a in study.plan["arms"] if a["label"] == arm)
        alike = [a["label"] for a in study.plan["arms"] if a["levels"]["model"] == size]
        best[x] = own_best_after(study, arm) - own_best_at(study, alike, 0)
        greedy[x] = study.accuracy[arm].after["greedy"] - study.accuracy[arm].before["greedy"]
    return _Sizes(best, greedy)


def _unmatched(study: Committed, arms: dict[str, str], wanted: float) -> str:
    """Name the first arm whose bases' greedy accuracy is too far from the stated one; "" if none is."""
    for arm, name in arms.items():
        mean = float(study.accuracy[arm].before["greedy"].mean())
        if not abs(mean - wanted) <= NEAR:
            at, near = f"{100 * wanted:.0f}", f"{100 * NEAR:.0f}"
            return f"the bases of {name} are at {points(mean)} % in greedy answers, not at {at} ± {near}"
    return ""


def _rising(study: Committed, arms: dict[str, str]) -> str:
    """Name the first arm whose accuracy still rises from half of the steps to the last; "" if none does."""
    rows = study.main_rows
    for arm, name in arms.items():
        ends = study.accuracy[arm]
        half = rows[(rows["arm"] == arm) & (rows["step"] == ends.after["step"].max() // 2)]
        rise = (ends.after["avg"] - half.set_index("seed")["avg"]).dropna()
        gain = float((ends.after["avg"] - ends.before["avg"]).mean())
        if len(rise) <= SMOKE_SEEDS:
            return f"{name} has no checkpoint at half of the steps"
        if _above(paired_t(rise.tolist())) and rise.mean() > PLATEAU * gain:
            return f"{name} has not come to a plateau"
    return ""


def _above(interval: Interval) -> bool:
    return interval.low is not None and interval.low > 0


def _below(interval: Interval) -> bool:
    return interval.high is not None and interval.high < 0


def _log_odds(interval: Interval) -> str:
    return number_text(interval, signed=True, digits=2)
