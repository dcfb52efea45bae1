"""pass@k by valid chains: what training reached by right derivations, beside the untrained base."""

from __future__ import annotations

from analysis.figures.figure import Figure
from analysis.figures.marks import curves, log_x
from analysis.figures.theme import BASE, BASE_BEST, GREY_BASE
from analysis.figures.values import (
    Row,
    estimate_row,
    factors_text,
    panels,
    seeds_text,
    split_names,
    tip,
    where,
)
from analysis.stats.crossing import pass_at_every_k
from analysis.stats.intervals import paired_t
from analysis.study.anatomy import own_best
from analysis.study.bases import untrained_bases
from analysis.study.contrasts import Primary, Rows, final_rows, what_varies
from analysis.study.load import Study


def discovery(study: Study, primary: Primary) -> Figure | None:
    """Valid chains of every arm and of the base at k = 1, 2, 4 ...; None where problems have no parts."""
    rows: list[Row] = []
    for arm in (a.label for a in study.record.arms):
        rows += _rows(study, primary, arm, final_rows(study, arm, primary.task))
    if not rows:
        return None
    for base in untrained_bases(study, primary.task):
        best = {s: r for a in base.arms for s, r in own_best(study, a, primary.task, base=True).items()}
        more = [*_rows(study, primary, BASE, base.rows), *_rows(study, primary, BASE_BEST, best)]
        rows += [{**row, "detail": base.label, "arms": base.arms} for row in more]
    dotted = ", dotted at its own best temperature" if BASE_BEST in {row["series"] for row in rows} else ""
    ks = sorted({row["x"] for row in rows})
    rows, series, titles = panels(study, rows)
    spec = curves(
        rows,
        x=log_x("k (samples)", ks, "d", base=2),
        title="problems with a valid chain among k, points",
        series=series,
        panels=titles,
        spread="band",
        height=150 if titles else 300,
    )
    caption = (
        f"Unbiased pass@k by valid chains (right answers through every part of the problem) on "
        f"{where(study, primary)}; bands: intervals over seeds. An arm above the base's curve at its end "
        "solves by derivations that as many samples of the base do not show."
    )
    title = (
        f"Valid chains on {split_names(study)[primary.task]} by {factors_text(study)}, {seeds_text(study)}"
    )
    title += f"; {GREY_BASE}{dotted}"
    return Figure("discovery", title, caption, spec, (4, 2) if titles else (1, 1))


def _rows(study: Study, primary: Primary, series: str, evaluations: Rows) -> list[Row]:
    """A row for each k = 1, 2, 4 ... that every seed has; none for records without chains."""
    chains = [row["by_problem"].chains for row in evaluations.values()]
    if not chains or any(found is None for found in chains):
        return []
    n = min(found.shape[1] for found in chains)
    curves_by_seed = [pass_at_every_k(found.sum(axis=1), found.shape[1]) for found in chains]
    rows = []
    for k in sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | {n}):
        interval = paired_t(
            [float(curve[k - 1]) for curve in curves_by_seed], level=primary.level, varies=what_varies(study)
        )
        row = estimate_row(series, interval, x=float(k))
        rows.append({**row, "tip": tip(series, row["value"], row["low"], row["high"], at=f"pass@{k}")})
    return rows
