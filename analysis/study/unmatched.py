"""What runs that another engine trained do otherwise than this project's trainer, as notes under a table."""

from __future__ import annotations

from analysis.study.load import Study


def unmatched_notes(study: Study) -> list[str]:
    """A line for each difference, with the arms that have it; a line where arms differ in their engine."""
    if "unmatched" not in study.runs:
        return []
    arms: dict[str, list[str]] = {}
    others = []
    for arm, rows in study.finished.groupby("arm", sort=False):
        found = dict.fromkeys(line for lines in rows["unmatched"] for line in lines)
        if not found:
            others.append(str(arm))
        for line in found:
            arms.setdefault(line, []).append(str(arm))
    named = dict.fromkeys(arm for names in arms.values() for arm in names)
    lines = [f"{', '.join(names)}: {line}" for line, names in arms.items()]
    if named and others:
        lines.append(
            f"{', '.join(named)} trained on another engine than {', '.join(others)}: a difference between "
            "them is one of engines, too"
        )
    return lines
