"""What a trained model does that its base, sampled n times, does not: problems, and ways to solve them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats.crossing import pass_at_every_k


def beyond_base(arm: ArrayLike, base: ArrayLike, *, arm_samples: int, base_samples: int, k: int) -> float:
    """Share of problems whose pass@1 after training exceeds the base's pass@k there, and its mean.

    `arm` and `base` [P] count hits of each problem; all pass rates are unbiased. The mean over problems is a
    floor: with k = base_samples a problem's own pass@k is 0 or 1, and one that the base solves once in a
    thousand samples is often found 0 of 256 times. Without the floor an untrained model with a hit there
    would count. Raises ValueError for different numbers of problems, counts outside 0..n, or k outside
    1..base_samples.
    """
    first, second = np.asarray(arm, dtype=int), np.asarray(base, dtype=int)
    if first.shape != second.shape or not 1 <= k <= base_samples:
        raise ValueError(f"k={k}: give 1 to {base_samples}, and counts of the same problems")
    one = np.array([pass_at_every_k([count], arm_samples)[0] for count in first])  # [P]
    many = np.array([pass_at_every_k([count], base_samples)[k - 1] for count in second])  # [P]
    return float(np.mean(one > np.maximum(many, many.mean()) + 1e-12))


def beyond_by_chance(base: ArrayLike, *, samples: int) -> float:
    """Mean of `beyond_base` for one half of the base's samples against the other, over all ways to halve.

    With h = floor(n / 2) samples in the half that stands for the base, a problem with c hits of n counts
    where that half has none, C(n−c, h) / C(n, h), if the c hits are more of the other half than the mean
    pass@h. Raises ValueError for fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"samples={samples}: two or more are needed to halve them")
    counts, half = np.asarray(base, dtype=int), samples // 2
    solved = np.array([pass_at_every_k([count], samples)[half - 1] for count in counts])  # [P]
    counted = counts / (samples - half) > solved.mean() + 1e-12  # never with c = 0
    return float(np.mean(np.where(counted, 1 - solved, 0.0)))


@dataclass(frozen=True, slots=True)
class Novelty:
    """Valid chains of a trained model, and those whose template its base did not write.

    `new` are not among the base's samples of the same problem, `unseen` not among those of any problem.
    `logprob` is the mean log p of the new ones under the base, nats a completion (None: not recorded), and
    `rarer` counts those of them below log(1 / n), which n samples would have shown less than once.
    """

    valid: int
    new: int
    unseen: int
    logprob: float | None
    rarer: int | None


def novelty(
    valid: NDArray[np.bool_],
    templates: Sequence[Sequence[str | None]],
    base_templates: Sequence[Sequence[str | None]],
    base_logprobs: Sequence[Sequence[float | None]] | None,
) -> Novelty:
    """Compare templates problem by problem; `valid` [P, k] marks the samples that count.

    The base's templates are those of all its samples, right or wrong: a way that it tries is not new. Raises
    ValueError for different numbers of problems.
    """
    if not len(valid) == len(templates) == len(base_templates):
        raise ValueError(f"templates: of {len(templates)} problems, the base's of {len(base_templates)}")
    everywhere = set(_known(name for row in base_templates for name in row))
    places = [(int(i), int(j)) for i, j in np.argwhere(valid)]
    new = [(i, j) for i, j in places if templates[i][j] not in set(base_templates[i])]
    unseen = sum(templates[i][j] not in everywhere for i, j in new)
    if base_logprobs is None:
        return Novelty(len(places), len(new), unseen, None, None)
    values = [value for i, j in new if (value := base_logprobs[i][j]) is not None]
    least = -np.log(len(base_templates[0])) if len(base_templates) else 0.0
    mean = float(np.mean(values)) if values else None
    return Novelty(len(places), len(new), unseen, mean, sum(value < least for value in values))


def _known(names: Iterable[str | None]) -> Iterable[str]:
    return (name for name in names if name is not None)
