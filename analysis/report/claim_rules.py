"""Rules by which the committed studies decide the seed's claims: a word and a sentence each.

A rule takes those of its studies that are committed, one at least, best first; it gives None where their
files do not say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.report.claim_words import REFUTED, SUPPORTED, UNDECIDED, Rule, each
from analysis.report.committed import Committed
from analysis.report.committed_verdicts import contrast_of
from analysis.report.verdict_text import size_text, word_text
from analysis.stats.contrast import Judged
from analysis.stats.intervals import MIN_SEEDS, Interval, paired_t
from analysis.stats.text import interval_bounds, interval_text

GRPO = {"bridge": "kl"}  # name of the arm that is GRPO, where it has another
TREND = {"model (parameters)": "ten times the parameters", "steps (checkpoints)": "ten times the steps"}
ENDS = ("", "_low", "_high")


def conservative(studies: Sequence[Committed]) -> tuple[str, str] | None:
    study = studies[0]
    clip, penalty = contrast_of(study, "0.2", "avg", "clip"), contrast_of(study, "0.04", "avg", "kl")
    if clip is None or penalty is None:
        return None
    words = {judged.verdict.word for judged in (clip, penalty)}
    word = SUPPORTED if "better" in words else REFUTED if words <= {"equivalent", "worse"} else UNDECIDED
    text = f"At each seed's best rate accuracy is {_size(clip)} with clipping and {_size(penalty)} with KL."
    text += _range_of_rates(study)
    greedy = paired_t(_gain(study, _control_arm(study) or "", "greedy").dropna().tolist())
    if greedy.low is not None and greedy.low > 0:
        return word, text
    text += f" Without either greedy answers gain {interval_text(greedy, signed=True)}: nothing to explain."
    return word if word == UNDECIDED else f"{word} at temperature 1", text


def _range_of_rates(study: Committed) -> str:
    """What clip and penalty, each alone, add to the mean over all rates."""
    areas = study.table("area_effects")
    if areas.empty:
        return ""
    alone = areas[areas["where"].astype(str).str.endswith("=none")].set_index("factor")
    if set(alone.index) != {"clip", "kl"}:
        return ""
    shown = {
        f: interval_bounds(*alone.loc[f, ["estimate", "low", "high"]].astype(float)) for f in alone.index
    }
    adds = f"each alone adds {shown['clip']} and {shown['kl']} points"
    return f" They forgive a high rate: over the whole grid of rates, {adds}."


def grows_with(factor: str, what: str) -> Rule:
    """Judge by how the gain over the base grows with a numeric factor, or with the model's parameters."""

    def judged(studies: Sequence[Committed]) -> tuple[str, str] | None:
        study, arms = studies[0], along(studies[0], factor)
        gains = [{x: _gain(study, arm, metric) for x, arm in arms.items()} for metric in ("avg", "greedy")]
        others = [f"`{name}={level}`" for name, level in study.plan["control"].items() if name != factor]
        found = _growth([slope_over_log10(gain) for gain in gains], gains[1], what)
        if found is None or not others:
            return found
        return found[0], f"With {' and '.join(others)}, {found[1][0].lower()}{found[1][1:]}"

    return judged


def with_steps(studies: Sequence[Committed]) -> tuple[str, str] | None:
    study = studies[0]
    rows = study.main_rows
    if rows.empty:
        return None
    trained = rows[(rows["arm"] == _control_arm(study)) & (rows["step"] > 0)]
    base = rows[(rows["arm"] == _control_arm(study)) & (rows["step"] == 0)].set_index("seed")
    gains = [
        {
            float(str(step)): at.set_index("seed")[metric] - base[metric]
            for step, at in trained.groupby("step")
        }
        for metric in ("avg", "greedy")
    ]
    return _growth([slope_over_log10(gain) for gain in gains], gains[1], "steps")


def _growth(
    slopes: Sequence[Interval | None], greedy_gain: Mapping[float, pd.Series[float]], what: str
) -> tuple[str, str] | None:
    """Judge by the slopes of the sampled and greedy gains, and by the greedy gain at the largest x."""
    sampled, greedy = slopes
    if sampled is None or greedy is None:
        return None
    top = paired_t(greedy_gain[max(greedy_gain)].dropna().tolist())
    up = [end.low is not None and end.low > 0 for end in (sampled, greedy, top)]
    word = SUPPORTED if all(up) else UNDECIDED if any(up[:2]) else REFUTED
    return word, (
        f"Ten times the {what} add {interval_text(sampled, signed=True)} points to sampled accuracy and "
        f"{interval_text(greedy, signed=True)} to greedy accuracy; with the most {what} the greedy gain is "
        f"{interval_text(top, signed=True)}."
    )


def along(study: Committed, factor: str) -> dict[float, str]:
    """Labels of arms by a factor's number, or the model's parameters; other factors as in the control."""
    levels = study.plan["factors"].get(factor, [])
    trends = study.table("trends")
    if factor == "model" and not trends.empty:
        shown = trends[trends["factor"].str.startswith("model")]["levels"]
        numbers = [float(x) for x in str(shown.iloc[0]).split()] if len(shown) else []
    else:
        numbers = [float(level) for level in levels]
    control = {name: level for name, level in study.plan["control"].items() if name != factor}
    found = {}
    for arm in study.plan["arms"]:
        if all(arm["levels"].get(name) == level for name, level in control.items()):
            found[numbers[levels.index(arm["levels"][factor])]] = arm["label"]
    return found


def _gain(study: Committed, arm: str, metric: str) -> pd.Series[float]:
    ends = study.accuracy[arm]
    return ends.after[metric] - ends.before[metric]


def slope_over_log10(by_x: Mapping[float, pd.Series[float]]) -> Interval | None:
    """Slope over log10 x in each seed, t over seeds; None for fewer than two points or three seeds."""
    frame = pd.DataFrame({np.log10(x): values for x, values in by_x.items() if x > 0}).dropna()
    if frame.shape[1] < 2 or len(frame) < MIN_SEEDS:
        return None
    return paired_t([float(np.polyfit(frame.columns, row, 1)[0]) for row in frame.to_numpy()])


def generalises(studies: Sequence[Committed]) -> tuple[str, str] | None:
    study = studies[0]
    rows, arms = study.table("transfer"), _trained_arms(study)
    if rows.empty or not arms:
        return None
    crossed = rows[:0]
    if "of" in rows:
        pairs = rows["of"].fillna("").map(lambda of: of.split("; "))
        crossed = rows[pairs.map(lambda pair: len(pair) > 1 and all(arm in arms for arm in pair))]
    if len(crossed):
        arms = list(dict.fromkeys(crossed["arm"]))
    of_arms = rows.set_index("arm").loc[arms]
    sampled, best = (of_arms[of_arms["measure"] == m].to_dict("records") for m in ("avg", "best"))
    said = "Families that the base knows and training leaves out"
    ratios = [[100 * float(row[f"ratio{end}"]) for end in ENDS] for row in sampled]
    if np.isnan(ratios).any():
        said += " have no ratio at temperature 1: no gain of trained ones is shown there."
    else:
        shares = [f"{mean:.0f} % [{low:.0f}, {high:.0f}]" for mean, low, high in ratios]
        said += f" gain {each(shares, arms)} of what trained ones gain at temperature 1."
    if len(crossed):
        said += " Either half of the families is trained in one arm and left out in another."
    elif len(arms) > 1:  # a study of its own: no arm trains what the others leave out
        said += " No arm trained these, so the ratio also says how hard they are."
    trained, untrained = (
        each([interval_bounds(*(float(row[side + end]) for end in ENDS), signed=True) for row in best])
        for side in ("trained", "untrained")
    )
    said += (
        " With base and arm each at its own best temperature trained families gain "
        f"{trained} points and untrained ones {untrained}."
    )
    ends = [(float(row["ratio_low"]), float(row["ratio_high"])) for row in best]
    if np.isnan(ends).any():
        return UNDECIDED, f"{said} There it is no gain that could reach others."
    refuted, supported = all(low > 0.5 for low, _ in ends), all(high < 0.25 for _, high in ends)
    return REFUTED if refuted else SUPPORTED if supported else UNDECIDED, said


def _trained_arms(study: Committed) -> list[str]:
    """The control; where that is a null, the declared family's arms above the best constant answer."""
    declared, control = study.plan["declared"], _control_arm(study)
    if control not in study.arms_at(declared.get("nulls", ())):
        return [control] if control else []
    arms = study.arms.set_index("arm")
    above = arms[arms["estimate_low"] > arms["best_constant"]].index
    return [label for label in study.arms_at(declared["family"]) if label in above]


def _control_arm(study: Committed) -> str | None:
    found = [a["label"] for a in study.plan["arms"] if a["levels"] == study.plan["control"]]
    return found[0] if found else None


def thesis(studies: Sequence[Committed]) -> tuple[str, str] | None:
    by_measure = {
        measure: {study.name: contrast_of(study, GRPO.get(study.name, "grpo"), measure) for study in studies}
        for measure in ("avg", "greedy")
    }
    known = {name: judged for name, judged in by_measure["avg"].items() if judged is not None}
    if not known:
        return None
    words = {judged.verdict.word for judged in known.values()}
    word = SUPPORTED if words == {"equivalent"} else REFUTED if words & {"better", "worse"} else UNDECIDED
    shown = each([f"{_size(judged)} in `{name}`" for name, judged in known.items()])
    said = f"With each at its own best rate, GRPO's accuracy is {shown}."
    said += "".join(map(_moving, studies))
    greedy = [judged.evidence.difference for judged in by_measure["greedy"].values() if judged is not None]
    if not greedy:
        return word, said
    told = [end for end in greedy if end.low is not None and end.high is not None and end.low * end.high > 0]
    said += f" In greedy answers: {each([interval_text(end, signed=True) for end in greedy])}."
    return UNDECIDED if told and word == SUPPORTED else word, said


def _moving(study: Committed) -> str:
    """How GRPO's difference grows with size or steps, where its interval excludes 0: a mean hides it."""
    rows = study.table("trends")
    if rows.empty:
        return ""
    rows = rows[(rows["of"] == "difference to the control") & (rows["at"] == "grpo")]
    return "".join(
        f" The difference in `{study.name}` moves by "
        f"{interval_bounds(*(float(row[end]) for end in ('slope', 'low', 'high')), signed=True)} with "
        f"{TREND[row['factor']]}."
        for row in rows.to_dict("records")
        if row["factor"] in TREND and row["low"] * row["high"] > 0
    )


def _size(judged: Judged) -> str:
    """`1.5 points higher [1.1, 1.9] (equivalent)`."""
    return f"{size_text(judged.evidence.difference)} ({word_text(judged)})"
