"""Rules that a preset of conf/ablation states beforehand, by study, for its report and the findings page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.report.committed import Committed
from analysis.report.rule_conservatism import conservatism
from analysis.report.rule_headroom import headroom
from analysis.report.rule_saturation import saturation
from analysis.report.rule_spurious import spurious
from analysis.report.rule_words import PresetRule
from analysis.study.load import Study

RULES: Mapping[str, PresetRule] = {
    "conservatism": conservatism,
    "headroom": headroom,
    "saturation": saturation,
    "spurious": spurious,
}


def report_lines(study: Study, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """What the study's own rule says, from the tables of its report; none without a rule."""
    rule = RULES.get(study.name)
    if rule is None:
        return []
    record, seen = study.record, {**tables, "evaluations": study.evaluations}
    plan: dict[str, Any] = {
        name: getattr(record, name) for name in ("factors", "control", "primary", "declared")
    }
    plan["arms"] = [{"label": arm.label, "levels": arm.levels} for arm in record.arms]
    return rule(plan, lambda name: seen.get(name, pd.DataFrame()))


def committed_lines(study: Committed) -> list[str]:
    """Say what the rule of a committed study says, from its files."""
    rule = RULES.get(study.name)
    return rule(study.plan, study.table) if rule is not None and study.plan else []
