"""Accuracy against tokens for every search in one figure, and one search's tree."""

from __future__ import annotations

from typing import Any

import altair as alt

from analysis.figures.figure import Figure
from analysis.figures.marks import curves, log_x, specification
from analysis.figures.theme import COLOURS, INK
from analysis.figures.values import Row, estimate_row, seeds_text, tip
from analysis.study.contrasts import Primary, what_varies
from analysis.study.load import Study
from analysis.study.search import GREEDY, SearchPoint, first_tree, search_points
from analysis.tables.search import over_seeds

PLAIN = (GREEDY, "majority vote")
VALUES = {
    "outcome": "outcome model",
    "process": "process model",
    "rollout": "votes",
    "oracle": "oracle (ceiling)",
}
LONGEST_TEXT = 60  # characters of a step in a tooltip
WIDEST = 400  # nodes that are drawn


def search_curves(study: Study, primary: Primary) -> Figure | None:
    """Accuracy against tokens a problem, with bands over seeds; a panel for each arm or base and value.

    Every panel has the majority vote and greedy decoding of its arm, which have no value. None without.
    """
    found = search_points(study, primary)
    if not found:
        return None
    shown = [point for point in found if point.split == found[0].split]
    values = [v for v in VALUES if any(p.value == v and not p.is_vote for p in shown)] or ["rollout"]
    rows, panels = [], []
    for who in dict.fromkeys(point.who for point in shown):
        for value in values:
            panels.append(f"{who}: {VALUES[value]}")
            mine = [p for p in shown if p.who == who and (p.value == value or _is_plain(p))]
            rows += [_row(study, primary, point, panels[-1]) for point in mine]
    budgets = sorted({float(point.budget) for point in shown if point.budget})
    ticks = budgets[::-2] if len(values) > 2 else budgets  # labels in narrow panels would touch
    spec = curves(
        rows,
        x=log_x("tokens a problem", ticks, ",d", base=2),
        title="accuracy, points",
        series=list(dict.fromkeys([*PLAIN, *(row["series"] for row in rows)])),
        panels=panels,
        spread="band",
        height=130,
        shared=False,
    )
    caption = (
        f"Accuracy on the split {shown[0].split} against the tokens spent on a problem, prompts apart, "
        f"{study.checkpoint_text}; a panel for each source of values, with a scale of its own. Bands: t "
        f"intervals over seeds, in which {what_varies(study)} varies. {GREEDY} is one output; the majority "
        "vote is plain sampling. The oracle reads the reference answers: it is a ceiling and no method."
    )
    title = f"What the same tokens buy: sampling and search, {seeds_text(study)}"
    return Figure("search", title, caption, spec, (len(values), 1 + (len(values) > 1)))


def _is_plain(point: SearchPoint) -> bool:
    return point.is_vote or point.fn == GREEDY


def _row(study: Study, primary: Primary, point: SearchPoint, panel: str) -> Row:
    """A row of the curve that a search makes in its panel, by its fn unless it has a name of its own."""
    named = not point.label.startswith(f"{point.fn}, ")
    series = PLAIN[point.is_vote] if _is_plain(point) else point.label if named else point.fn
    row = estimate_row(series, over_seeds(study, primary, point), x=point.mean_tokens)
    at = f"{point.mean_tokens:.0f} tokens"
    row["tip"] = tip(point.label, row["value"], row["low"], row["high"], at=at)
    return row | {"panel": panel}


def search_tree(study: Study) -> Figure | None:
    """One problem's tree, root at the top: a node a step, larger the more visits; None without one."""
    kept = first_tree(study)
    if kept is None:
        return None
    record, tree = kept
    rows = tree_rows(tree["nodes"][:WIDEST])
    axis = alt.Axis(labels=False, ticks=False, domain=False, grid=False)
    x = alt.X("x:Q", title=None, axis=axis, scale=alt.Scale(padding=12, nice=False))
    y = alt.Y("y:Q", title="steps", axis=alt.Axis(tickMinStep=1, grid=False), scale=alt.Scale(reverse=True))
    edges: Any = alt.Chart().mark_rule(color=INK, opacity=0.35, aria=False).encode(x=x, y=y, x2="x2", y2="y2")
    value = alt.Color("value:Q", title="value", scale=alt.Scale(domain=[0, 1], range=["#d7dde3", COLOURS[0]]))
    size = alt.Size("visits:Q", title="visits", scale=alt.Scale(range=[20, 220]))
    shape = alt.Shape(
        "kind:N", title=None, scale=alt.Scale(domain=["step", "output"], range=["circle", "square"])
    )
    nodes: Any = alt.Chart().mark_point(filled=True, opacity=1, stroke=INK, strokeWidth=0.4)
    nodes = nodes.encode(x=x, y=y, color=value, size=size, shape=shape, description="tip:N")
    caption = (
        f"The tree of {record.label} on {tree['problem_id']}, {record.checkpoint}: {len(rows)} nodes"
        + (f" of {len(tree['nodes'])}" if len(tree["nodes"]) > WIDEST else "")
        + ". A square is a complete output. Point at a node for its step."
    )
    return Figure(
        "search_tree", "What one search looked at", caption, specification(rows, [edges, nodes], height=320)
    )


def tree_rows(nodes: list[dict[str, Any]]) -> list[Row]:
    """A row a node: leaves side by side, a parent above the middle of its children, depth downwards."""
    children: dict[int | None, list[int]] = {}
    for place, node in enumerate(nodes):
        children.setdefault(node["parent"], []).append(place)
    depths = [0] * len(nodes)
    for place, node in enumerate(nodes):  # parents stand before their children
        depths[place] = 0 if node["parent"] is None else depths[node["parent"]] + 1
    across: dict[int, float] = {}
    leaves = 0

    def order(place: int) -> list[int]:
        return [place, *(found for child in children.get(place, ()) for found in order(child))]

    walked = [place for root in children.get(None, ()) for place in order(root)]
    for place in walked:
        if place not in children:
            across[place], leaves = float(leaves), leaves + 1
    for place in reversed(walked):
        if place in children:
            below = [across[child] for child in children[place]]
            across[place] = (min(below) + max(below)) / 2
    return [
        {
            "x": across[place],
            "y": depths[place],
            "x2": across[place if node["parent"] is None else node["parent"]],
            "y2": max(0, depths[place] - 1),
            "visits": node["visits"],
            "value": node["value"],
            "kind": "output" if node["complete"] else "step",
            "tip": f"{_short(node['text'])}: {node['visits']} visits, value {node['value']:.2f}",
        }
        for place, node in enumerate(nodes)
    ]


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= LONGEST_TEXT else plain[: LONGEST_TEXT - 1] + "…"
