"""The rule of conf/ablation/spurious.yaml: is a reward that knows nothing spurious, and is it contamination?

    spurious      the reward's gain over the base lies above 0 by its interval, on clean or on leaked bases
    nothing said  of contamination, unless leaked bases lie above clean ones on the test and not on validation
    explains      the reward gains on leaked bases, and its effect, less the random reward's, is larger there
                  than on clean ones (`interactions`, Holm within 0.05)
    does not      the whole interval of that interaction is within a quarter of the true reward's mean gain on
                  clean bases, which has to be a gain by its interval
    undecided     neither, or both

The random reward is not measured against itself: its gains on the two corpora are compared by their
intervals. What has no interval, or three seeds or fewer, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.report.claim_words import each
from analysis.report.rule_words import Ends, Plan, Tables, ends, enough, row_of
from analysis.stats.intervals import paired_t
from analysis.stats.text import points

REWARD, CORPUS = "reward", "corpus"
TRUE, LEAKED = "accuracy", "leaked"
SHARE = 0.25  # of the true reward's gain on clean bases: an interaction within it is none
HOLM = 0.05
Gains = dict[str, dict[str, Ends]]  # clean or leaked -> reward -> gain over the base


def spurious(plan: Plan, table: Tables) -> list[str]:
    """Say which rewards gain, and whether contamination explains it; none without a gain to read."""
    gains = _gains(plan, table("arms"))
    shown = {name: {r: gain for r, gain in own.items() if r != TRUE} for name, own in gains.items()}
    shown = {name: own for name, own in shown.items() if own}
    if not shown:
        return []
    listed = "; ".join(f"on {name} bases {_listed(own)}" for name, own in shown.items())
    lines = [
        "Spurious? A reward that knows nothing counts as spurious where its gain over the base lies above 0. "
        f"Gains in points, {listed}. {_risen(shown)}"
    ]
    if set(gains) != {"clean", LEAKED}:
        return lines
    said, leaks = _leak(plan, table("evaluations"))
    if not leaks:
        return [*lines, f"Contamination? Nothing is said of it: {said}."]
    risen = [r for r in plan["factors"][REWARD] if any(r in own and own[r].above for own in shown.values())]
    judged = [
        _null_text(r, gains) if r == plan["control"][REWARD] else _explained(plan, table, r, gains)
        for r in risen
    ]
    return [*lines, " ".join([f"Contamination? {said}.", *(judged or ["There is no gain to explain."])])]


def _gains(plan: Plan, arms: pd.DataFrame) -> Gains:
    """Gains with an interval over four seeds or more, on `clean` and on `leaked` bases, by reward."""
    found: Gains = {}
    for name in ("clean", LEAKED):
        for reward in plan["factors"].get(REWARD, ()):
            row = row_of(arms, arm=_arm(plan, reward, name))
            gain = ends(row, "gain_over_base") if enough(row.get("seeds")) else None
            if gain is not None:
                found.setdefault(name, {})[reward] = gain
    return found


def _arm(plan: Plan, reward: str, name: str) -> str | None:
    """Label of a reward's arm on `clean` or on `leaked` bases; None if it is not in the plan."""
    levels = {REWARD: reward, CORPUS: plan["control"].get(CORPUS) if name == "clean" else name}
    return next((arm["label"] for arm in plan["arms"] if arm["levels"] == levels), None)


def _listed(gains: Mapping[str, Ends]) -> str:
    """`+0.3 [−0.1, +0.7] (`random`) and ...`"""
    return each([f"{gain.text} (`{reward}`)" for reward, gain in gains.items()])


def _risen(shown: Gains) -> str:
    """`Spurious: `format` on leaked bases.`"""
    found = [f"`{r}` on {name} bases" for name, own in shown.items() for r, gain in own.items() if gain.above]
    return f"Spurious: {each(found)}." if found else "None of them lies above 0."


def _leak(plan: Plan, rows: pd.DataFrame) -> tuple[str, bool]:
    """Say how far leaked bases are above clean ones on each split, and whether it is the test alone."""
    test, validation = (_apart(plan, rows, split) for split in ("test", "validation"))
    if test is None or validation is None:
        return "how leaked and clean bases differ on the test and on validation is not known", False
    if not test.above:
        return f"leaked bases are not above clean ones on the test ({test.text} points)", False
    if validation.above:
        said = f"leaked bases are above clean ones on the test ({test.text} points) and on validation, which "
        return f"{said}is not leaked ({validation.text})", False
    said = f"Leaked bases are {test.text} points above clean ones on the test"
    return f"{said}, and {validation.text} on validation, which is not leaked", True


def _apart(plan: Plan, rows: pd.DataFrame, split: str) -> Ends | None:
    """Leaked bases less clean ones in the primary measure, paired by seed."""
    metric = str(plan["primary"].get("metric", "avg")).split("@")[0]
    if rows.empty or metric not in rows:
        return None
    rows = rows[(rows["step"] == 0) & (rows["split"] == split)]
    rows = rows[rows["main"].astype(bool)] if "main" in rows else rows
    if rows["task"].nunique() != 1:
        return None
    corpus = rows["arm"].map({arm["label"]: arm["levels"].get(CORPUS) for arm in plan["arms"]})
    means = rows.groupby([rows["seed"], corpus])[metric].mean().unstack()
    clean = plan["control"].get(CORPUS)
    if not {LEAKED, clean} <= set(means):
        return None
    apart = (means[LEAKED] - means[clean]).dropna()
    found = paired_t(apart.tolist()) if enough(len(apart)) else None
    if found is None or found.low is None or found.high is None:
        return None
    return Ends(found.estimate, found.low, found.high)


def _null_text(null: str, gains: Gains) -> str:
    """Compare the random reward's gains by their two intervals alone."""
    text = f"The gain of `{null}` is compared by its two intervals alone"
    clean, leaked = (gains[name].get(null) for name in ("clean", LEAKED))
    if clean is None or leaked is None:
        return f"{text}, and one of them is missing."
    if leaked.low > clean.high:
        return f"{text}: it is larger on leaked bases."
    return f"{text}: {'it is larger on clean bases' if clean.low > leaked.high else 'they overlap'}."


def _explained(plan: Plan, table: Tables, reward: str, gains: Gains) -> str:
    """Whether contamination explains the gain of one reward, with the interaction and the margin."""
    row = row_of(table("interactions"), level=reward, factor=CORPUS, at=LEAKED)
    more = ends(row, "more") if enough(row.get("seeds")) else None
    if more is None:
        return f"Of `{reward}` nothing is said: its interaction with the corpus has no interval."
    true = gains["clean"].get(TRUE)
    size = SHARE * true.estimate if true is not None and true.above else None
    larger = more.estimate > 0 and pd.notna(row["p_holm"]) and row["p_holm"] <= HOLM
    within = size is not None and more.within(size)
    clean, leaked = (reward in gains[name] and gains[name][reward].above for name in ("clean", LEAKED))
    word = "whether contamination explains its gain is undecided"
    if larger and within:
        word += ": more is shown, and it is within the margin"
    elif larger and leaked:
        word = f"contamination explains {'a part of ' if clean else ''}its gain"
        word += ", as it gains on clean bases too" if clean else ""
    elif within:
        word = "contamination does not explain its gain"
    margin = "the true reward has no gain on clean bases to take a quarter of"
    if size is not None:
        margin = f"the margin is {points(size)} points, a quarter of the true reward's gain on clean bases"
    return (
        f"Less the gain of `{plan['control'][REWARD]}`, `{reward}` gains {more.text} points more on leaked "
        f"bases than on clean ones; {margin}. Of `{reward}`: {word}.{_at_own_best(plan, table, reward)}"
    )


def _at_own_best(plan: Plan, table: Tables, reward: str) -> str:
    """Say what is left at own best temperatures: sharpening alone makes an interaction at temperature 1."""
    rows = [row_of(table("anatomy"), arm=_arm(plan, reward, name)) for name in (LEAKED, "clean")]
    leaked, clean = (ends(row, "best_gain") for row in rows)
    if leaked is None or clean is None:
        return ""
    return (
        f" At own best temperatures it gains {leaked.text} on leaked bases and {clean.text} on clean ones; "
        "a difference that is gone there may be sharpening alone."
    )
