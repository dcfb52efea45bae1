"""The report's first figure: pass@k of every arm and of the untrained base, with greedy answers beside it."""

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
from analysis.stats.intervals import paired_t
from analysis.study.anatomy import own_best
from analysis.study.bases import over_seeds, untrained_bases
from analysis.study.contrasts import Primary, Rows, final_rows, what_varies
from analysis.study.load import Study


def anatomy(study: Study, primary: Primary) -> Figure | None:
    """pass@k and greedy accuracy of every arm, of the base, and of the base at its own best sampling."""
    rows: list[Row] = []
    for arm in (a.label for a in study.record.arms):
        rows += _rows(study, primary, arm, final_rows(study, arm, primary.task))
    if not rows:
        return None
    for base in untrained_bases(study, primary.task):
        best = {s: r for a in base.arms for s, r in own_best(study, a, primary.task, base=True).items()}
        more = [*_rows(study, primary, BASE, base.rows), *_rows(study, primary, BASE_BEST, best)]
        rows += [{**row, "detail": base.label, "arms": base.arms} for row in more]
    is_best = any(row["series"] == BASE_BEST for row in rows)
    ks = sorted({row["x"] for row in rows})
    rows, series, titles = panels(study, rows)
    spec = curves(
        rows,
        x=log_x("k (samples)", ks, "d", base=2),
        title="pass@k, points",
        series=series,
        panels=titles,
        spread="band",
        height=150 if titles else 300,
        crosses=True,
    )
    dotted = ", dotted at its own best temperature" if is_best else ""
    title = f"pass@k on {split_names(study)[primary.task]} by {factors_text(study)}, {seeds_text(study)}"
    title += f"; {GREY_BASE}{dotted}"
    caption = (
        f"Unbiased pass@k on {where(study, primary)}; crosses at k = 1: greedy answers; bands: intervals "
        "over seeds. A curve that starts above the base's and meets it at larger k: right answers became "
        "more likely, and few became possible."
    )
    return Figure("anatomy", title, caption, spec, (4, 2) if titles else (1, 1))


def _rows(study: Study, primary: Primary, series: str, evaluations: Rows) -> list[Row]:
    """A row for each k that every seed has, and one for greedy answers; none for a single k."""
    found = [dict(row["pass_curve"]) for row in evaluations.values()]
    ks = sorted(set.intersection(*map(set, found))) if found else []
    if len(ks) < 2:
        return []
    rows = []
    for k in ks:
        values = [curve[k] for curve in found]
        interval = paired_t(values, level=primary.level, varies=what_varies(study))
        row = estimate_row(series, interval, x=float(k))
        rows.append({**row, "tip": tip(series, row["value"], row["low"], row["high"], at=f"pass@{k}")})
    greedy = over_seeds(study, evaluations, "greedy", primary.level)
    if greedy is not None:
        row = estimate_row(series, greedy, x=float(ks[0]), cross=True)
        rows.append({**row, "tip": tip(series, row["value"], row["low"], row["high"], at="greedy")})
    return rows
