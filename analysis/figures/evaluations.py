"""Figures of evaluations: the gain's parts, splits, retention, derivations."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.figures.figure import Figure
from analysis.figures.marks import curves, forest, linear_x
from analysis.figures.theme import BASE, GREY_BASE
from analysis.figures.values import (
    Row,
    estimate_row,
    measure,
    seeds_text,
    split_names,
    tip,
)
from analysis.stats.intervals import Interval, paired_t
from analysis.study.contrasts import (
    ArmResult,
    Primary,
    final_rows,
    mean_of,
    paired,
    what_varies,
)
from analysis.study.kept import retention_values
from analysis.study.load import Study

TRAINED = "trained arm"


def decomposition(study: Study, results: Sequence[ArmResult]) -> Figure | None:
    """Gain over the base by choosing to derive and by accuracy given the kind, with intervals over seeds."""
    parts = {"from choosing to derive": "choice", "from accuracy given the kind": "skill"}
    rows = [
        estimate_row(name, interval, label=r.label)
        for r in results
        for name, part in parts.items()
        if (interval := getattr(r, part)) is not None
    ]
    if not rows:
        return None
    labels = list(dict.fromkeys(row["label"] for row in rows))
    spec = forest(
        rows, title="gain in avg@k, points", labels=labels, series=list(parts), zero=True, dodge=True
    )
    title = f"Where the gain over the untrained base (0) comes from, {seeds_text(study)}"
    caption = "The two parts add up to the gain in avg@k; bars are intervals over seeds."
    return Figure("decomposition", title, caption, spec)


def splits(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """Gain over the base on every split or task: does it generalise."""
    names = split_names(study)
    if len(names) < 2:
        return None
    rows: list[Row] = []
    for r in results:
        for task, name in names.items():
            after, before = (final_rows(study, r.label, task, base=base) for base in (False, True))
            gain = paired(after, before, primary.metric, level=primary.level, varies=what_varies(study))
            if gain is not None:
                rows.append(estimate_row(TRAINED, gain, label=r.label, panel=name))
    if not rows:
        return None
    spec = forest(
        rows,
        title="gain, points",
        labels=list(dict.fromkeys(row["label"] for row in rows)),
        series=[TRAINED],
        panels=[name for name in names.values() if any(row["panel"] == name for row in rows)],
        zero=True,
    )
    title = (
        f"Gain over the untrained base (0) in {measure(study, primary)} on each split, {seeds_text(study)}"
    )
    caption = "Paired by seed, each arm's checkpoint minus its base; bars are intervals over seeds."
    return Figure("splits", title, caption, spec, (4, 2))


def kept(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """Gain against how far the policy moved on text of the base's own kind; the base is the origin."""
    moved = {
        arm: paired_t(list(found.values()), level=primary.level, varies=what_varies(study))
        for arm, found in retention_values(study, "kept_kl_reverse").items()
    }
    rows = [
        estimate_row(r.label, r.gain, **_place(moved[r.label]))
        for r in results
        if r.gain is not None and r.label in moved
    ]
    if len(rows) < 2:
        return None
    origin = {
        "series": BASE,
        "x": 0.0,
        "x_low": 0.0,
        "x_high": 0.0,
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
        "tip": f"{BASE}: 0 by definition",
    }
    rows.append(origin)
    spec = curves(
        rows,
        x=linear_x("KL to the base on kept text, nats/token", whole=False),
        title=f"gain in {measure(study, primary)}, points",
        series=[row["series"] for row in rows],
    )
    title = f"Gain against what was lost of the base, {seeds_text(study)}; {GREY_BASE}"
    caption = (
        "How far each policy has moved from the base, on fixed text of the base's own kind, and what it "
        "gained. Bars are intervals over seeds, of either."
    )
    return Figure("kept", title, caption, spec)


def _place(interval: Interval) -> Row:
    """An estimate as a place on the x axis; without an interval its bar has no length."""
    value = interval.estimate
    low, high = (value if end is None else end for end in (interval.low, interval.high))
    return {"x": value, "x_low": low, "x_high": high}


def derivations(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """Are the derivations right: before (the base) and after training."""
    names = {
        "step_validity": "valid steps",
        "sound": "right answers by right steps alone",
        "share_stepped": "answers with steps",
    }
    rows: list[Row] = []
    for r in results:
        after, before = (final_rows(study, r.label, primary.task, base=base) for base in (False, True))
        for name, panel in names.items():
            for series, found in ((BASE, before), (TRAINED, after)):
                value = mean_of(found, name)
                if mean_of(after, name) is not None and value is not None:
                    rows.append(_share_row(series, r.label, panel, 100 * value))
    if not rows:
        return None
    spec = forest(
        rows,
        title="points",
        labels=list(dict.fromkeys(row["label"] for row in rows)),
        series=[TRAINED, BASE],
        panels=[panel for panel in names.values() if any(row["panel"] == panel for row in rows)],
        zero=True,
        dodge=True,
    )
    title = f"Is the derivation right, or only the answer, {seeds_text(study)}; {GREY_BASE}"
    caption = (
        "Means over seeds before and after training. A step is an arithmetic statement that can be checked. "
        "Right answers by right steps alone: share of right answers with steps whose every step is right."
    )
    return Figure("derivations", title, caption, spec, (3, 2))


def _share_row(series: str, label: str, panel: str, value: float) -> Row:
    name = f"{label}, {series}" if series == BASE else label
    said = tip(name, value, value, value)
    return {
        "series": series,
        "label": label,
        "panel": panel,
        "value": value,
        "low": value,
        "high": value,
        "tip": said,
    }
