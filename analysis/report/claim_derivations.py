"""The rule on derivations: of right answers, does the share with a valid derivation fall?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.report.all_arms import counted_arms
from analysis.report.claim_discovery import family_gains
from analysis.report.claim_words import REFUTED, SUPPORTED, UNDECIDED, each
from analysis.report.committed import Committed
from analysis.stats.text import interval_bounds, interval_text

MARGIN_OF_VALID = 0.02  # of right answers with steps, share whose derivation is valid
ENDS = ("", "_low", "_high")
MOST_NAMED = 4  # arms that leave a fall open
Change = tuple[str, str, tuple[float, float, float]]  # study, arm, change with its interval


def derivations(studies: Sequence[Committed]) -> tuple[str, str] | None:
    """Judge every arm that is paid by right answers or taught them; then families without a seen solution."""
    found = list(_changes(studies))
    if not found:
        return None
    fallen = [change for change in found if change[2][2] < 0]
    risen = sum(low > 0 for _, _, (_, low, _) in found)
    unsure = [change for change in found if change not in fallen and change[2][1] <= -MARGIN_OF_VALID]
    word = SUPPORTED if fallen else UNDECIDED if unsure else REFUTED
    said = (
        "Of right answers with steps, the share with a valid derivation, within family and level, rises in "
        f"{risen} of {len(found)} arms and falls in {_named(fallen) if fallen else 'none'}."
    )
    if unsure:
        said += f" A fall of {100 * MARGIN_OF_VALID:.0f} points is not excluded in {_named(unsure)}."
    slips, shown = _slips(studies)
    if slips:
        word += f" where bases have seen worked derivations; supported for {each(slips)}, where they have not"
        said += shown
    return word, said


def _changes(studies: Sequence[Committed]) -> Iterator[Change]:
    """The change in each arm that counts; runs that stand in two studies once."""
    seen: set[tuple[float, ...]] = set()
    for study in studies:
        rows, nulls = study.table("anatomy_problems"), study.plan["declared"].get("nulls") or ()
        if rows.empty or "valid_change" not in rows:
            continue
        arms = set(counted_arms(study)) - set(study.arms_at(nulls))
        for row in rows[rows["arm"].isin(arms)].to_dict("records"):
            mean, low, high = (float(row[f"valid_change{end}"]) for end in ENDS)
            if not np.isnan(low) and (mean, low, high) not in seen:
                seen.add((mean, low, high))
                yield study.name, str(row["arm"]), (mean, low, high)


def _named(changes: Sequence[Change]) -> str:
    """``sft` of `bridge` (−1.0 [−2.6, +0.6])`, the lowest first."""
    ordered = sorted(changes, key=lambda change: change[2][1])
    shown = [f"`{arm}` of `{study}` ({interval_bounds(*x, signed=True)})" for study, arm, x in ordered]
    more = [f"{len(shown) - MOST_NAMED} more"] if len(shown) > MOST_NAMED else []
    return each([*shown[:MOST_NAMED], *more])


def _slips(studies: Sequence[Committed]) -> tuple[list[str], str]:
    """Families whose right answers gain more than their valid chains, the intervals apart, and a sentence."""
    names, shown = [], []
    for study in studies:
        declared = study.plan["declared"]
        trained = study.arms_at(declared.get("family") or ()) if declared.get("ceiling") else []
        for arm in trained:
            for name, (chains, right) in family_gains(study, arm).items():
                if right is not None and right.low is not None and right.low > float(chains["gain_high"]):
                    names.append(f"`{name}`")
                    ends = [float(chains[f"gain{end}"]) for end in ENDS]
                    shown.append(
                        f" In `{study.name}` right answers of `{name}` rise by "
                        f"{interval_text(right, signed=True)} points with `{arm}`, and valid chains by "
                        f"{interval_bounds(*ends, signed=True)}."
                    )
    return list(dict.fromkeys(names)), "".join(shown)
