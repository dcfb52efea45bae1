"""Select the rollouts to train on: rejection sampling, zero variance, refill, truncated outputs. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.types import ScoredGroup

Truncated = Literal["keep", "fail", "mask", "drop"]


def accepted(
    groups: Sequence[ScoredGroup], *, threshold: float, cap_per_problem: int | None, dedupe: bool
) -> list[ScoredGroup]:
    """Rollouts with reward > threshold, at most `cap_per_problem` a problem (None: no cap); empty groups go.

    `dedupe` keeps the first of equal completions (same tokens) of a problem. Both count over all groups
    given, so a problem that was sampled twice is capped once. Earlier samples win, so the choice needs no
    randomness.
    """
    seen: dict[str, set[tuple[int, ...]]] = {}
    num_kept: dict[str, int] = {}
    out = []
    for group in groups:
        problem = group.problem.id
        texts = seen.setdefault(problem, set())
        keep = []
        for i, (rollout, reward) in enumerate(zip(group.rollouts, group.rewards, strict=True)):
            full = cap_per_problem is not None and num_kept.get(problem, 0) >= cap_per_problem
            repeated = dedupe and rollout.completion_ids in texts
            if reward > threshold and not full and not repeated:
                keep.append(i)
                texts.add(rollout.completion_ids)
                num_kept[problem] = num_kept.get(problem, 0) + 1
        if keep:
            out.append(_only(group, keep))
    return out


def drop_zero_variance(
    groups: Sequence[ScoredGroup], *, by: Literal["reward", "accuracy"] = "reward"
) -> list[ScoredGroup]:
    """Groups whose rewards differ; `by` accuracy, those with right and wrong answers.

    DAPO's dynamic sampling (arXiv:2503.14476 eq. 11) asks for the latter: 0 < number right < G.
    """
    if by == "accuracy":
        return [group for group in groups if len({grade.correct for grade in group.grades}) == 2]
    return [group for group in groups if max(group.rewards) != min(group.rewards)]


def needs_refill(*, num_kept: int, num_wanted: int, num_sampled: int, max_sampled: int) -> int:
    """How many prompts to sample next so that `num_wanted` groups are kept; 0 when done or at the limit.

    All are counts of groups (prompts). Asks for the shortfall divided by the share kept so far, and never
    lets the total pass `max_sampled`; at the limit the step goes on with what there is.
    """
    missing = num_wanted - num_kept
    if missing <= 0:
        return 0
    share = num_kept / num_sampled if num_sampled else 1.0
    ask = num_wanted if share == 0 else -int(-missing // share)
    return max(0, min(ask, max_sampled - num_sampled))


def truncated(
    groups: Sequence[ScoredGroup], *, rule: Truncated, fail_reward: float, min_group_size: int
) -> list[ScoredGroup]:
    """What an output cut at the length limit gets, stated once.

    keep  its reward as graded (a boxed answer before the cut may count)
    fail  `fail_reward`, whatever the grader said
    mask  its reward as graded, which shapes the group's baseline; its tokens leave the loss
          (`make_batch(mask_truncated=True)`)
    drop  it leaves its group before advantages are taken; groups with fewer than `min_group_size` left go too
    """
    if rule in ("keep", "mask"):
        return list(groups)
    if rule == "fail":
        return [_fail_truncated(group, fail_reward) for group in groups]
    if rule == "drop":
        whole = [
            _only(group, [i for i, r in enumerate(group.rollouts) if r.finish_reason != "length"])
            for group in groups
        ]
        return [group for group in whole if len(group.rollouts) >= max(1, min_group_size)]
    raise ValueError(f"truncated: unknown rule '{rule}'; choose keep, fail, mask or drop")


def _fail_truncated(group: ScoredGroup, reward: float) -> ScoredGroup:
    pairs = zip(group.rollouts, group.rewards, strict=True)
    return replace(group, rewards=tuple(reward if r.finish_reason == "length" else x for r, x in pairs))


def _only(group: ScoredGroup, keep: Sequence[int]) -> ScoredGroup:
    steps = group.step_rewards
    return replace(
        group,
        rollouts=tuple(group.rollouts[i] for i in keep),
        grades=tuple(group.grades[i] for i in keep),
        rewards=tuple(group.rewards[i] for i in keep),
        step_rewards=None if steps is None else tuple(steps[i] for i in keep),
    )
