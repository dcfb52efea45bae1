"""The rule on self-evolution: conf/ablation/self_evolution.yaml's criteria, from the table `discovery`.

(i) and (ii) are read for each arm of the declared family at each setting of the other factors, against the
control (a memoriser) and the nulls (a coin flip) there. The first that holds decides a setting:

    this study cannot tell  fewer than four seeds; the base sampled at one temperature, or under 256 times;
                            its pass@256 by valid chains not from 5 to 30 %; the memoriser or a null has
                            (i) or (ii)
    shown                   an arm has (i) and (ii)
    this study cannot tell  the ceiling shows no gain: nothing could have been found here
    refuted at this scale   for every arm the base overtakes within its samples and no template is new
    undecided               else

Shown at one setting is shown. Refuted takes every setting that can tell. Where families of problems differ,
(i) is read for each of them too, and the word names those that have it and those that lack it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.report.claim_words import CANNOT_TELL, REFUTED_HERE, SHOWN, UNDECIDED, each
from analysis.report.committed import SMOKE_SEEDS, Committed
from analysis.report.committed_verdicts import right_by_family
from analysis.stats.intervals import Interval, paired_t
from analysis.stats.text import interval_bounds, interval_text, points
from analysis.study.discovery import MOST_K

LEAST_GAIN = 0.10  # (i): valid chains over the base at its own best temperature
LEAST_BEYOND = 0.10  # (ii): share of problems whose pass@1 exceeds the base's pass@256
WITHIN_REACH = (0.05, 0.30)  # pass@256 of the base by valid chains: else nothing is decided
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One setting of the other factors: rows of `discovery` by the level of the primary factor.

    `gains` has the gains in right answers by seed, `name` the setting (`ladder_s`; "" for a single one), and
    `families` the gain of each family in valid chains and in right answers, None where it is not known.
    `nulls` are levels that cannot teach anything.
    """

    name: str
    rows: Mapping[str, Row]
    trained: Sequence[str]
    control: str
    ceiling: str | None
    nulls: Sequence[str] = ()
    gains: Mapping[str, Sequence[float]] = field(default_factory=dict)
    families: Mapping[str, Mapping[str, tuple[Row, Interval | None]]] = field(default_factory=dict)


def self_evolution(studies: Sequence[Committed]) -> tuple[str, str] | None:
    """Judge every setting of the other factors; None without the table, or without an arm and its control."""
    cells = _cells(studies[0])
    if not cells:
        return None
    found = [(cell, *judge_cell(cell)) for cell in cells]
    words = {word for _, word, _ in found}
    telling = words - {CANNOT_TELL}
    word = SHOWN if SHOWN in words else telling.pop() if len(telling) == 1 else UNDECIDED
    if words == {CANNOT_TELL}:
        word = CANNOT_TELL
    if word == SHOWN:
        word += _of_which([cell for cell, own, _ in found if own == SHOWN])
    return word, " ".join(cell_text(cell, own, reason) for cell, own, reason in found)


def judge_cell(cell: Cell) -> tuple[str, str]:
    """The word of one setting, and the reason of one that cannot tell."""
    if reason := _blind(cell):
        return CANNOT_TELL, reason
    if any(_risen(cell.rows[arm]) and _beyond(cell.rows[arm]) for arm in cell.trained):
        return SHOWN, ""
    if cell.ceiling is not None and not cell.rows[cell.ceiling]["gain_low"] > 0:
        return CANNOT_TELL, "training on true derivations shows no gain"
    old = all(_overtaken(cell.rows[arm]) and not cell.rows[arm]["unseen"] > 0 for arm in cell.trained)
    return (REFUTED_HERE if old else UNDECIDED), ""


def _of_which(cells: Sequence[Cell]) -> str:
    """` for `a`, not for `b``: families in which some judged arm has (i), and those in which none has."""
    risen: dict[str, bool] = {}
    for cell in cells:
        for name, (gain, _) in (item for arm in cell.trained for item in cell.families.get(arm, {}).items()):
            has_it = gain["gain"] >= LEAST_GAIN and gain["gain_low"] > 0
            risen[name] = risen.get(name, False) or has_it
    with_it, without = ([f"`{n}`" for n, own in risen.items() if own is wanted] for wanted in (True, False))
    return f" for {each(with_it)}, not for {each(without)}" if with_it and without else ""


def _blind(cell: Cell) -> str:
    """Why a setting decides nothing; "" where it may."""
    rows = [cell.rows[arm] for arm in (*cell.trained, cell.control)]
    if any(len(cell.gains.get(arm, ())) <= SMOKE_SEEDS for arm in (*cell.trained, cell.control)):
        return "fewer than four seeds"
    if any(pd.isna(row["over_best"]) for row in rows):
        return "the base was sampled at one temperature alone"
    if any(row["k"] < MOST_K for row in rows):
        return f"the base has fewer than {MOST_K} samples a problem"
    least, most = WITHIN_REACH
    if not least <= rows[0]["base_pass"] <= most:
        end = "below 5 %: out of reach" if rows[0]["base_pass"] < least else "above 30 %: nothing to discover"
        return f"the base's pass@{MOST_K} by valid chains is {end}"
    idle = [arm for arm in (cell.control, *cell.nulls) if _risen(cell.rows[arm]) or _beyond(cell.rows[arm])]
    return f"{each([f'`{arm}`' for arm in idle])} gain{'' if len(idle) > 1 else 's'} too" if idle else ""


def _risen(row: Row) -> bool:
    """Criterion (i)."""
    return bool(row["over_best"] >= LEAST_GAIN and row["over_best_low"] > 0)


def _beyond(row: Row) -> bool:
    """Criterion (ii); its interval lies above what one half of the base's samples has over the other."""
    chance: float = 0.0 if pd.isna(row["chance"]) else row["chance"]
    return bool(row["beyond"] >= LEAST_BEYOND and row["beyond_low"] > chance)


def _overtaken(row: Row) -> bool:
    """Whether the base's pass@k reaches the arm's within its samples."""
    return not pd.isna(row["crossing_k"])


def cell_text(cell: Cell, word: str, reason: str) -> str:
    """What was measured at one setting, and its word where there are several or a reason."""
    where, first = (f"At `{cell.name}` " if cell.name else ""), cell.rows[cell.trained[0]]
    arms = (*cell.trained, cell.control)
    rises = each([_points(cell.rows[arm], "over_best", signed=True) for arm in arms], arms)
    beyond = each([_with_chance(cell.rows[arm]) for arm in arms], arms)
    said = (
        f"{where}the base has a valid chain for {_points(first, 'base_pass')} % of the problems within "
        f"{first['k']:.0f} samples{_by_base(first)}. Valid chains change by {rises} points over the base at "
        f"its own best temperature; pass@1 exceeds the base's pass@{first['k']:.0f} on {beyond} % of the "
        "problems."
    )
    crossings = each([_crossing(cell.rows[arm]) for arm in cell.trained], cell.trained)
    new = each([_points(cell.rows[arm], "unseen") for arm in cell.trained], cell.trained)
    said += f" The base overtakes at k = {crossings}; of the valid chains {new} % have a form that it lacks."
    said += "".join(_by_family(cell, arm) + _slips(cell, arm) for arm in cell.trained)
    ending = f"{word}: {reason}" if reason else word
    return f"{said[0].upper()}{said[1:]}" + (f" Here: {ending}." if cell.name or reason else "")


def _by_base(row: Row) -> str:
    """` (by base 2.1, 15.6; 1 of 2 within 5 to 30 %)`; "" in tables that lack it."""
    shares = [float(x) for x in str(row.get("base_pass_by_seed") or "").split()]
    if not shares:
        return ""
    inside = sum(WITHIN_REACH[0] <= x <= WITHIN_REACH[1] for x in shares)
    listed = ", ".join(points(x) for x in shares)
    return f" (by base {listed}: {inside} of {len(shares)} within the reach of 5 to 30 %)"


def _by_family(cell: Cell, arm: str) -> str:
    """An arm's gain in each family, by valid chains and by right answers."""
    if len(cell.families.get(arm, {})) < 2:
        return ""
    reach = _reach(cell.rows[arm])
    shown = [
        f"{_points(gain, 'gain', signed=True)} points of `{name}`"
        + (f", of which the base reaches {points(reach[name])} %" if name in reach else "")
        + (f" (right answers {interval_text(right, signed=True)})" if right is not None else "")
        for name, (gain, right) in cell.families[arm].items()
    ]
    return f" With `{arm}` valid chains change by {each(shown)}."


def _reach(row: Row) -> dict[str, float]:
    """Family -> pass@k of the base by valid chains; empty in tables that lack it."""
    listed = row.get("base_pass_by_family")
    pairs = [item.rsplit("=", 1) for item in listed.split("; ")] if isinstance(listed, str) else []
    return {name: float(share) for name, share in pairs}


def _slips(cell: Cell, arm: str) -> str:
    """Say where right answers rise, and valid chains neither rise nor could have risen as much."""
    gain, chains = (paired_t(cell.gains[arm]) if cell.gains.get(arm) else None), cell.rows[arm]
    if gain is None or gain.low is None or gain.low <= 0 or chains["gain_low"] > 0:
        return ""
    if not pd.isna(chains["gain_high"]) and chains["gain_high"] >= gain.low:
        return ""  # a wide interval is no sign of guessing
    shown = interval_text(gain, signed=True)
    return f" With `{arm}` right answers rise by {shown} points and valid chains do not: it learned to guess."


def _points(row: Row, name: str, *, signed: bool = False) -> str:
    if pd.isna(row[name]):
        return "—"
    ends: list[float | None] = [
        None if pd.isna(row[end]) else float(row[end]) for end in (f"{name}_low", f"{name}_high")
    ]
    return interval_bounds(float(row[name]), *ends, signed=signed)


def _with_chance(row: Row) -> str:
    shown = _points(row, "beyond")
    return shown if pd.isna(row["chance"]) else f"{shown}, by chance {points(float(row['chance']))}"


def _crossing(row: Row) -> str:
    """`8 [4, 12]`, `>256`: not within the samples that there are."""
    most = f">{row['samples']:.0f}"
    shown: list[str] = [
        most if pd.isna(row[end]) or row[end] > row["samples"] else f"{row[end]:.0f}"
        for end in ("crossing_k", "crossing_low", "crossing_high")
    ]
    return shown[0] if pd.isna(row["crossing_low"]) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _cells(study: Committed) -> list[Cell]:
    """Settings of the other factors that have the control and an arm of the family, on the primary task."""
    rows = study.table("discovery")
    if rows.empty or study.main_rows.empty:
        return []
    of_task = rows[rows["task"] == study.main_rows["task"].iloc[0]].set_index("arm")
    by_setting: dict[tuple[str, ...], dict[str, str]] = {}
    for arm in study.plan["arms"]:
        if arm["label"] in of_task.index:
            others = tuple(level for name, level in arm["levels"].items() if name != study.factor)
            by_setting.setdefault(others, {})[arm["levels"][study.factor]] = arm["label"]
    declared, control = study.plan["declared"], study.plan["control"].get(study.factor)
    found = []
    for others, labels in by_setting.items():
        trained = [level for level in declared.get("family") or () if level in labels]
        if control not in labels or not trained:
            continue
        ceiling = declared.get("ceiling")
        found.append(
            Cell(
                name=", ".join(others),
                rows={level: of_task.loc[label].to_dict() for level, label in labels.items()},
                trained=trained,
                control=str(control),
                ceiling=ceiling if ceiling in labels else None,
                nulls=[level for level in declared.get("nulls") or () if level in labels],
                gains={level: _gains(study, label) for level, label in labels.items()},
                families={level: family_gains(study, label) for level, label in labels.items()},
            )
        )
    return found


def family_gains(study: Committed, arm: str) -> dict[str, tuple[Row, Interval | None]]:
    """Family -> gain over the base in the study's measure, and in right answers."""
    rows = study.table("families")
    if rows.empty:
        return {}
    own = rows[(rows["arm"] == arm) & (rows["of"] == "gain over base") & (rows["by"] == "family")]
    right = right_by_family(study, arm)
    return {
        str(row["group"]): (
            {"gain": row["estimate"], "gain_low": row["low"], "gain_high": row["high"]},
            right.get(str(row["group"])),
        )
        for row in own.to_dict("records")
    }


def _gains(study: Committed, arm: str) -> list[float]:
    """Gains in right answers by seed."""
    ends = study.accuracy.get(arm)
    return [] if ends is None else [float(x) for x in (ends.after["avg"] - ends.before["avg"]).dropna()]
