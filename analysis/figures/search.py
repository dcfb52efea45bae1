"""Accuracy against tokens for every search in one figure, and one search's tree."""

from __future__ import annotations

import math
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

LONGEST_TEXT = 60  # characters of a step in a tooltip
WIDEST = 400  # nodes that are drawn


def search_curves(study: Study, primary: Primary) -> Figure | None:
    """Accuracy against tokens a problem, with bands over seeds; a panel an arm and base. None without."""
    found = search_points(study, primary)
    if not found:
        return None
    shown = [point for point in found if point.split == found[0].split]
    names = list(dict.fromkeys(point.who for point in shown))
    rows = [_row(study, primary, point, panelled=len(names) > 1) for point in shown]
    series = list(dict.fromkeys(point.label for point in shown))
    spec = curves(
        rows,
        x=log_x("tokens a problem", _ticks([row["x"] for row in rows]), "~s", base=2),
        title="accuracy, points",
        series=series,
        panels=names if len(names) > 1 else (),
        spread="band",
        height=240,
    )
    caption = (
        f"Accuracy on the split {shown[0].split} against the tokens spent on a problem, prompts apart, "
        f"{study.checkpoint_text}; bands: t intervals over seeds, in which {what_varies(study)} varies. "
        f"{GREEDY} is one output. The oracle reads the reference answers: it is a ceiling and no method."
    )
    title = f"What the same tokens buy: sampling and search, {seeds_text(study)}"
    return Figure("search", title, caption, spec, (2, 1) if len(names) > 1 else (1, 1))


def _ticks(values: list[float]) -> list[float]:
    """Powers of two from the smallest value to the largest."""
    low, high = math.floor(math.log2(max(1.0, min(values)))), math.ceil(math.log2(max(values)))
    return [2.0**power for power in range(low, high + 1)]


def _row(study: Study, primary: Primary, point: SearchPoint, *, panelled: bool) -> Row:
    row = estimate_row(point.label, over_seeds(study, primary, point), x=point.mean_tokens)
    at = f"{point.mean_tokens:.0f} tokens"
    row["tip"] = tip(point.label, row["value"], row["low"], row["high"], at=at)
    return row | ({"panel": point.who} if panelled else {})


def search_tree(study: Study) -> Figure | None:
    """One problem's tree, root at the top: a node a step, larger the more visits; None without one."""
    kept = first_tree(study)
    if kept is None:
        return None
    record, tree = kept
    rows = tree_rows(tree["nodes"][:WIDEST])
    axis = alt.Axis(labels=False, ticks=False, domain=False, grid=False)
    x = alt.X("x:Q", title=None, axis=axis, scale=alt.Scale(padding=12))
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
