"""Forest of effects by family of problems."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.figures.figure import Figure
from analysis.figures.marks import forest
from analysis.figures.values import Row, estimate_row, measure, seeds_text, where
from analysis.study.contrasts import ArmResult, Primary
from analysis.study.load import Study
from analysis.tables.families import BY_FAMILY, DIFFERENCE, GAIN, family_splits

ALL, NEW = "all problems", "new families"
PANELS = 9  # more arms than this make a figure that nobody reads


def families(study: Study, primary: Primary, results: Sequence[ArmResult]) -> Figure | None:
    """Each arm's gain and difference on each family, on all problems, and with families as the unit."""
    splits = [s for s in family_splits(study, primary, results) if s.by == BY_FAMILY]
    if not splits or all(len(split.parts) < 2 for split in splits):
        return None
    arms = list(dict.fromkeys(split.arm for split in splits))[:PANELS]
    whole = {(r.label, GAIN): r.gain for r in results} | {
        (r.label, DIFFERENCE): r.difference for r in results
    }
    rows: list[Row] = []
    for split in splits:
        if split.arm not in arms:
            continue
        named = [(part.family, part.interval) for part in split.parts]
        ends = [(ALL, whole[split.arm, split.effect]), (NEW, split.over_all)]
        for label, interval in [*named, *ends]:
            if interval is not None:
                rows.append(estimate_row(split.effect, interval, label=label, panel=split.arm))
    labels = [name for name in dict.fromkeys(row["label"] for row in rows) if name not in (ALL, NEW)]
    series = [effect for effect in (GAIN, DIFFERENCE) if any(row["series"] == effect for row in rows)]
    spec = forest(
        rows,
        title=f"{measure(study, primary)}, points",
        labels=[*labels, ALL, NEW],
        series=series,
        panels=arms,
        zero=True,
        dodge=len(series) > 1,
    )
    caption = (
        f"On {where(study, primary)}. Bars of families and of all problems are intervals over seeds; the bar "
        "of new families is that of the median family, over families and seeds, and alone speaks of families "
        "that are not among these."
    )
    if len(arms) < len({split.arm for split in splits}):
        caption += f" The first {PANELS} arms; the table has all."
    title = f"Effects by family of problems, {seeds_text(study)}"
    return Figure("families", title, caption, spec, (2, 1))
