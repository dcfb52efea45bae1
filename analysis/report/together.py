"""The primary contrasts of all committed studies, adjusted together by Holm; smoke tests stand outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.report.committed import SMOKE_SEEDS, Committed
from analysis.stats.inference import holm
from analysis.stats.text import interval_bounds, p_text


@dataclass(frozen=True)
class PrimaryContrast:
    """One comparison that a study was made for: a level against its control, or its gain over the base.

    Accuracies in [0, 1]. `p_holm` is over all studies of the page; None for a smoke test.
    """

    study: str
    text: str
    estimate: float
    low: float
    high: float
    p_value: float
    p_holm: float | None = None


def is_smoke_test(study: Committed) -> bool:
    """Whether a study has too few seeds to be among the conclusions."""
    return study.seeds <= SMOKE_SEEDS


def primary_contrasts(study: Committed) -> list[PrimaryContrast]:
    """What the study's primary says: its contrast, else each level of the factor; or its family's gains.

    A contrast over several settings of the other factors is the main effect. Comparisons of equal arms
    (factor `replicate`), and those without an interval, are none.
    """
    plan = study.plan
    if "replicate" in plan.get("factors", {}) or study.arms.empty or not plan.get("primary"):
        return []
    primary, factor = plan["primary"], study.factor
    if primary.get("criterion") == "gain":
        rows = study.arms[study.arms["arm"].isin(study.arms_at(plan["declared"]["family"]))]
        return _of_rows(study, rows, "gain_over_base", "{} over its base")
    control = plan["control"].get(factor)
    effects = study.table("main_effects")
    if not effects.empty:
        rows = effects[effects["factor"] == factor].rename(
            columns={"low": "difference_low", "high": "difference_high", "p_value": "difference_p_value"}
        )
        rows = rows.assign(arm=rows["level"])
    else:
        levels = {arm["label"]: arm["levels"].get(factor) for arm in plan["arms"]}
        rows = study.arms[study.arms["control"].notna()]
        rows = rows.assign(level=rows["arm"].map(levels))
    if (contrast := primary.get("contrast")) is not None:
        rows = rows[rows["level"].astype(str) == contrast]
    return _of_rows(study, rows, "difference", f"{{}} − {control}")


def _of_rows(study: Committed, rows: pd.DataFrame, name: str, text: str) -> list[PrimaryContrast]:
    columns = [name, f"{name}_low", f"{name}_high", f"{name}_p_value"]
    known = rows.dropna(subset=columns)
    return [
        PrimaryContrast(study.name, text.format(arm), *map(float, numbers))
        for arm, numbers in zip(known["arm"], known[columns].itertuples(index=False), strict=True)
    ]


def adjusted(studies: Sequence[Committed]) -> list[PrimaryContrast]:
    """Every primary contrast; Holm over those of all studies that are no smoke tests."""
    found = [c for study in studies if not is_smoke_test(study) for c in primary_contrasts(study)]
    together = [
        PrimaryContrast(**{**vars(c), "p_holm": p})
        for c, p in zip(found, holm([c.p_value for c in found]), strict=True)
    ]
    smoke = [c for study in studies if is_smoke_test(study) for c in primary_contrasts(study)]
    return [*together, *smoke]


def together_section(studies: Sequence[Committed]) -> list[str]:
    """The section of the findings page; empty where no study has a primary contrast."""
    found = adjusted(studies)
    if not found:
        return []
    number = sum(c.p_holm is not None for c in found)
    rows = [
        f"| {c.study} | {_plain(c.text)} | {interval_bounds(c.estimate, c.low, c.high, signed=True)} | "
        f"{p_text(c.p_value)} | {'smoke test' if c.p_holm is None else p_text(c.p_holm)} |"
        for c in found
    ]
    return [
        "## Primary contrasts, adjusted together",
        f"Holm adjusts over the {number} primary contrasts of all studies of four seeds or more. Smoke "
        "tests, of three seeds or fewer, are no part of it. Brackets are not adjusted.",
        "\n".join(
            [
                "| study | contrast | points | p | p (Holm, all studies) |",
                "| --- | --- | --- | --- | --- |",
                *rows,
            ]
        ),
    ]


def _plain(text: str) -> str:
    return text.replace("|", "\\|")
