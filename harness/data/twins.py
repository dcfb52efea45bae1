"""Re-numbered twins of training problems, as further training problems; scanned against what is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.data.ngrams import Scan, scan
from harness.data.normalise import exact_key
from harness.data.perturb import training_twins
from harness.types import Problem


def add_twins(
    problems: Sequence[Problem],
    most: int,
    *,
    evaluation: dict[str, Sequence[Problem]],
    share: float,
) -> tuple[list[Problem], dict[str, Any]]:
    """The problems, then up to `most` twins of each that the rules can change; and a report without text.

    A twin is left out if it is a copy of a problem or of another twin, or if it is a copy of an `evaluation`
    problem (by split) or holds `share` or more of its 13-grams.
    """
    made = [twin for problem in problems for twin in training_twins(problem, most)]
    known = {exact_key(p.text) for p in problems}
    twins: list[Problem] = []
    for twin in made:
        if (key := exact_key(twin.text)) not in known:
            known.add(key)
            twins.append(twin)
    scans = {split: scan(twins, held_out) for split, held_out in evaluation.items()}
    hits = [hit for found in scans.values() for hit in found.over(share)]
    dropped = {hit.train_id for hit in hits}
    kept = [p for p in twins if p.id not in dropped]
    report = {
        "num_twins": len(kept),
        "num_twinned": len({p.pair_id for p in kept}),
        "num_copies": len(made) - len(twins),
        "scanned": {split: _counts(found, share) for split, found in scans.items()},
        "left_out": sorted(dropped),
    }
    return [*problems, *kept], report


def _counts(found: Scan, share: float) -> dict[str, Any]:
    """Counts of evaluation problems. None of phrases: the twins of a problem make phrases of its words."""
    counts = found.report(share)
    return {key: counts[key] for key in ("num_eval", "exact", "any_13gram", "share", "over_share")}
