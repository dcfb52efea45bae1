"""The rule of conf/ablation/conservatism.yaml: what do clipping and a KL penalty keep, setting by setting?

Cause 1, from `area_effects`, rows of each term in each setting of the other factors:

    fails      every term leaves the area under the rate response equivalent in every setting (p within 0.05),
               within a quarter of what its control gains there
    holds      in a setting where the area's interval lies above 0 and it is not equivalent
    undecided  else

Nothing is said of a setting whose control has no gain to take a quarter of, nor of one that was not run, has
no interval or has three seeds or fewer; with such a setting the cause cannot fail.

The penalty forgets less, from `splits`, where its difference on families that training leaves out lies above
0 at the rates that seeds chose. A lower rate forgets less, too: rates stand beside it. Of the clip nothing is
said.
"""

from __future__ import annotations

from math import prod
from typing import Any

import pandas as pd

from analysis.report.claim_words import each
from analysis.report.rule_words import Ends, Plan, Tables, ends, enough, row_of
from analysis.stats.text import points
from analysis.study.transfer import HELDOUT

TERMS, PENALTY = ("clip", "kl"), "kl"
WITHIN = 0.05  # p of equivalence
QUESTION = (
    "Does a conservative objective keep more over all rates? Area under the rate response less its "
    "control's, in points."
)
HOLDS, EQUIVALENT, OPEN, NO_GAIN = "holds", "equivalent", "open", "no gain"


def conservatism(plan: Plan, table: Tables) -> list[str]:
    """Say where cause 1 holds or that it fails, and where the penalty forgets less."""
    return [*_areas(plan, table("area_effects")), *_forgets(plan, table)]


def _areas(plan: Plan, rows: pd.DataFrame) -> list[str]:
    """Cause 1 over all rates; none where no setting was run."""
    terms = [term for term in TERMS if term in plan["factors"]]
    if rows.empty or "tost_p" not in rows:
        return []
    rows = rows[rows["factor"].isin(terms) & rows["where"].fillna("").ne("")]
    read = [row for row in rows.to_dict("records") if enough(row["n"])]
    if not read:
        return []
    planned = sum(_num_settings(plan, term) for term in terms)
    named = {
        word: [_name(row) for row in read if _word(row) == word] for word in (HOLDS, EQUIVALENT, NO_GAIN)
    }
    if len(named[EQUIVALENT]) == planned:
        sizes = [points(end([row["estimate"] for row in read]), signed=True) for end in (min, max)]
        return [
            f"{QUESTION} Cause 1 fails here: in each of {planned} settings the difference is equivalent, "
            f"within a quarter of the control's gain; they are {' to '.join(sizes)}."
        ]
    holds = len(named[HOLDS])
    said = [f"Cause 1 {f'holds in {holds} of {planned} settings' if holds else 'is undecided'}."]
    said += [f"Above 0 with {each(named[HOLDS])}."] if holds else []
    if named[EQUIVALENT]:
        said.append(f"Equivalent, within a quarter of the control's gain, with {each(named[EQUIVALENT])}.")
    if others := planned - holds - len(named[EQUIVALENT]):
        without = f", in {len(named[NO_GAIN])} of which the control has no gain" if named[NO_GAIN] else ""
        said.append(f"Settings of which nothing is said: {others}{without}.")
    return [" ".join([QUESTION, *said])]


def _word(row: dict[Any, Any]) -> str:
    """What the rule says of one term in one setting."""
    area = ends(row, "estimate", "low", "high")
    if pd.isna(row["tost_p"]):
        return NO_GAIN
    if area is None:
        return OPEN
    if row["tost_p"] <= WITHIN:
        return EQUIVALENT
    return HOLDS if area.above else OPEN


def _name(row: dict[Any, Any]) -> str:
    """`` `clip=0.2` at `kl=none, trainer.steps=200` (+4.7 [+4.1, +5.4])``"""
    area = ends(row, "estimate", "low", "high")
    shown = f" ({area.text})" if area is not None else ""
    return f"`{row['factor']}={row['level']}` at `{row['where']}`{shown}"


def _num_settings(plan: Plan, term: str) -> int:
    """Levels of a term beside its control, in every setting of the other factors, as planned."""
    others = prod(len(levels) for name, levels in plan["factors"].items() if name != term)
    return (len(plan["factors"][term]) - 1) * others


def _forgets(plan: Plan, table: Tables) -> list[str]:
    """Settings in which the penalty loses less of the families that training leaves out."""
    splits, arms = table("splits"), table("arms")
    found, compared = [], 0
    for arm in plan["arms"]:
        control = {**arm["levels"], PENALTY: plan["control"].get(PENALTY)}
        plain = next((other["label"] for other in plan["arms"] if other["levels"] == control), None)
        difference = ends(row_of(splits, arm=arm["label"], split=HELDOUT), "difference")
        rows = [row_of(arms, arm=label) for label in (arm["label"], plain)]
        if plain == arm["label"] or difference is None or not all(enough(row.get("seeds")) for row in rows):
            continue
        compared += 1
        if difference.above:
            found.append(_less(arm["label"], difference, [str(row.get("lr")) for row in rows]))
    if not compared:
        return []
    text = (
        "Does the penalty forget less? On families that training leaves out, at the rates that seeds chose,"
    )
    if not found:
        return [f"{text} that is shown in none of {compared} settings."]
    return [
        f"{text} it does in {len(found)} of {compared} settings, in points: {each(found)}. A lower rate "
        "forgets less, too."
    ]


def _less(label: str, difference: Ends, rates: list[str]) -> str:
    """`` `kl=0.04, ...` +2.1 [+0.4, +3.8] (rates 3e-05, without it 0.0001)``"""
    return f"`{label}` {difference.text} (rates {rates[0]}, without it {rates[1]})"
