"""Advantages from rewards, one a row (or a token, for step rewards). Pure.

Every group function takes the whole rollout batch at once: `rewards` [B] and `group_ids` [B] (rows that share
a prompt share an id, in any order). Equal rewards in a group give exactly 0, by rule and not by rounding: the
float32 mean of seven 1.2s is not 1.2, and dividing that residue by a tiny std turns it into a signal.
"""

from __future__ import annotations

import math
from math import comb
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Std = Literal["none", "sample", "population"]


def raw_reward(*, rewards: Tensor, group_ids: Tensor) -> Tensor:
    """A_i = r_i: the policy gradient without a baseline (REINFORCE, Williams 1992). [B] -> [B]."""
    return rewards.clone()


def accepted_only(*, rewards: Tensor, group_ids: Tensor, threshold: float) -> Tensor:
    """A_i = 1 if r_i > threshold else 0: rejection-sampled SFT as a policy gradient. [B] -> [B]."""
    return (rewards > threshold).to(rewards.dtype)


def signed(*, rewards: Tensor, group_ids: Tensor, threshold: float) -> Tensor:
    """A_i = 1 if r_i > threshold else -1, without a baseline (arXiv:2506.01347, 2503.14286). [B] -> [B]."""
    return torch.where(rewards > threshold, 1.0, -1.0).to(rewards.dtype)


def group_centered(*, rewards: Tensor, group_ids: Tensor) -> Tensor:
    """A_i = r_i - mean of its group (Dr. GRPO, arXiv:2503.20783). [B] -> [B]; a group of one gives 0."""
    group = _Groups(rewards, group_ids)
    return group.zero_if_equal(rewards - group.mean[group.index])


def group_normalized(*, rewards: Tensor, group_ids: Tensor, std: Std, eps: float) -> Tensor:
    """A_i = (r_i - mean) / (std + eps) within the group (DeepSeekMath, arXiv:2402.03300 §4.1.2). [B] -> [B].

    std "sample" divides by G-1 (torch's default and most trainers'), "population" by G, "none" only centres.
    Raises ValueError for a group of one with a std: one sample has no spread.
    """
    group = _Groups(rewards, group_ids)
    centred = group.zero_if_equal(rewards - group.mean[group.index])
    if std == "none":
        return centred
    group.require_pairs(f"std={std}")
    squares = group.sum(centred.square())  # [num_groups]
    degrees = group.size - 1 if std == "sample" else group.size  # [num_groups]
    return group.zero_if_equal(centred / ((squares / degrees).sqrt() + eps)[group.index])


def rloo(*, rewards: Tensor, group_ids: Tensor) -> Tensor:
    """A_i = r_i - mean of the others = G/(G-1) (r_i - mean) (RLOO, arXiv:2402.14740 eq. 8). [B] -> [B].

    Raises ValueError for a group of one: there are no others.
    """
    group = _Groups(rewards, group_ids)
    group.require_pairs("the leave-one-out baseline")
    scale = group.size / (group.size - 1)  # [num_groups]
    return group.zero_if_equal(rewards - group.mean[group.index]) * scale[group.index]


def max_rl(*, rewards: Tensor, group_ids: Tensor) -> Tensor:
    """A_i = (r_i - mean) / mean of its group (MaxRL, arXiv:2602.02710). [B] -> [B].

    For rewards in {0, 1}: the gradient of a log pass rate, truncated at order G. A group without a success
    gives 0. Raises ValueError for a negative reward, for which dividing by the mean has no such meaning.
    """
    if bool((rewards < 0).any()):
        raise ValueError(
            f"advantage=max_rl: rewards must be >= 0, got {rewards.min().item():g}; use group_normalized"
        )
    group = _Groups(rewards, group_ids)
    centred = group.zero_if_equal(rewards - group.mean[group.index])
    mean = group.mean[group.index]  # [B]
    return torch.where(mean > 0, centred / torch.where(mean > 0, mean, 1.0), 0.0)


def pass_at_k(*, rewards: Tensor, group_ids: Tensor, k: int, std: Std, eps: float) -> Tensor:
    """A_i = (mean of best rewards of k-subsets with i - mean of those of all) / (std + eps). [B] -> [B].

    The subsets are of i's group, the best reward is a subset's largest, std is the population one over all
    subsets, or none. For rewards in {0, 1} these are the advantages of pass@k training in closed form
    (arXiv:2508.10751 eq. 14, 15); with k = 1 those of `group_normalized`. A group whose subsets all have the
    same best reward gives exactly 0. Raises ValueError for a group of fewer than k.
    """
    group = _Groups(rewards, group_ids)
    if bool((group.size < k).any()):
        smallest = int(group.size.min())
        raise ValueError(
            f"advantage.k={k}: a group holds {smallest} samples; lower k or raise the group size"
        )
    advantages = torch.zeros_like(rewards)
    for number in range(len(group.size)):
        rows = (group.index == number).nonzero().squeeze(1)
        advantages[rows] = _best_of_subsets(rewards[rows], k=k, std=std, eps=eps).to(rewards.dtype)
    return advantages


def _best_of_subsets(rewards: Tensor, *, k: int, std: Std, eps: float) -> Tensor:
    """`pass_at_k` of one group, float64. The best of a subset is the one of the highest rank j = 0...n-1."""
    size = len(rewards)
    ranked, order = rewards.double().sort()
    if ranked[k - 1] == ranked[-1]:  # the lowest best reward is the highest
        return torch.zeros_like(ranked)

    def share(count: Callable[[int], int], whole: int) -> Tensor:
        return torch.tensor([count(j) / whole for j in range(size)], dtype=torch.float64)

    of_all = share(lambda j: comb(j, k - 1), comb(size, k))  # subsets whose best has rank j
    with_i = comb(size - 1, k - 1)
    is_best = share(lambda j: comb(j, k - 1), with_i)  # of those with i: i has rank j and is best
    below = share(lambda j: comb(j - 1, k - 2) if k > 1 and j else 0, with_i)  # i is below rank j, the best
    mean = (of_all * ranked).sum()
    beaten = _sum_from_here(below * ranked) - below * ranked
    centred = is_best * ranked + beaten - mean
    if std != "none":
        centred = centred / ((of_all * (ranked - mean).square()).sum().sqrt() + eps)
    return torch.empty_like(centred).scatter_(0, order, centred)


def reinforce_pp(*, token_rewards: Tensor, completion_mask: Tensor, eps: float) -> Tensor:
    """A_t = (R_t - mean) / (std + eps) over all tokens of the batch, R_t = sum over s >= t of r_s. [B, T].

    REINFORCE++, arXiv:2501.03262: A_t = r(q, o) - beta sum over s >= t of KL(s), then normalised over the
    global batch. `token_rewards` holds -beta * kl at each token plus the outcome reward at the
    last (`kl.token_rewards`); beta 0 is the limit of a small one. std is the population one. The mean runs
    over tokens, so long outputs weigh more in it, as in OpenRLHF and verl.
    """
    mask = completion_mask.bool()
    to_go = _sum_from_here(torch.where(mask, token_rewards, 0.0))  # [B, T]
    return whiten(to_go, completion_mask=completion_mask, eps=eps)


def process_supervision(
    *,
    step_rewards: Tensor,
    step_rows: Tensor,
    step_ends: Tensor,
    completion_mask: Tensor,
    group_ids: Tensor,
    std: Std,
    eps: float,
) -> Tensor:
    """A_t = sum of the normalised rewards of the steps that end at or after t (arXiv:2402.03300 §4.1.3).

    `step_rewards` [S] are of steps of the outputs `step_rows` [S], each ending at the token `step_ends` [S].
    The mean and std of a group run over all steps of all its outputs: two that end at one token are two, and
    those of outputs with no token in `completion_mask` [B, T] (cut and masked) count too. -> [B, T], 0
    outside the completion. A group with one step in all has nothing to compare: it gives 0, as equal rewards
    do.
    """
    groups = group_ids[step_rows]  # [S]
    _, index, size = torch.unique(groups, return_inverse=True, return_counts=True)
    several = size[index] > 1  # [S]
    normalised = torch.zeros(completion_mask.shape, dtype=step_rewards.dtype)  # [B, T]
    if bool(several.any()):
        at = (step_rows[several], step_ends[several])
        each = group_normalized(rewards=step_rewards[several], group_ids=groups[several], std=std, eps=eps)
        normalised.index_put_(at, each, accumulate=True)
    return torch.where(completion_mask.bool(), _sum_from_here(normalised), 0.0)


def weigh_signs(advantages: Tensor, *, positive: float, negative: float) -> Tensor:
    """Advantages times a weight for each sign: 1 and 0 are good outputs alone, 0 and 1 bad ones alone.

    W-REINFORCE (arXiv:2506.01347) is 0.1 and 1 on `signed` advantages.
    """
    return advantages * torch.full_like(advantages, negative).masked_fill(advantages > 0, positive)


def top_entropy(advantages: Tensor, *, entropy: Tensor, completion_mask: Tensor, share: float) -> Tensor:
    """Advantages of the `share` of the batch's tokens with the highest entropy, 0 elsewhere. All [B, T].

    arXiv:2506.01939: tokens at or above the entropy of rank ceil(share x tokens) keep theirs; the
    others stay in the denominators, which the caller takes from the advantages before.
    """
    mask = completion_mask.bool()
    inside = entropy[mask]  # [num_tokens]
    if inside.numel() == 0:
        return advantages
    rank = max(1, math.ceil(share * inside.numel() - 1e-9))
    least = inside.sort(descending=True).values[rank - 1]
    return torch.where(mask & (entropy >= least), advantages, 0.0)


def whiten(advantages: Tensor, *, completion_mask: Tensor, eps: float) -> Tensor:
    """Mean 0 and population std 1 over the completion tokens of the batch; 0 elsewhere. [B, T] -> [B, T]."""
    mask = completion_mask.bool()
    inside = advantages[mask]  # [num_tokens]
    if inside.numel() == 0 or bool(inside.max() == inside.min()):
        return torch.zeros_like(advantages)
    scale = inside.std(correction=0) + eps
    return torch.where(mask, (advantages - inside.mean()) / scale, 0.0)


def _sum_from_here(x: Tensor) -> Tensor:
    """y_t = sum over s >= t of x_s, along the last dimension."""
    return x.flip(-1).cumsum(-1).flip(-1)


class _Groups:
    """Sizes, means and the equal-rewards flag of each group; `index` [B] maps a row to its group."""

    def __init__(self, rewards: Tensor, group_ids: Tensor) -> None:
        ids, self.index = torch.unique(group_ids, return_inverse=True)
        zeros = torch.zeros(len(ids), dtype=rewards.dtype, device=rewards.device)
        self.zeros = zeros
        self.size = self.sum(torch.ones_like(rewards))
        self.mean = self.sum(rewards) / self.size
        low = zeros.scatter_reduce(0, self.index, rewards, "amin", include_self=False)
        high = zeros.scatter_reduce(0, self.index, rewards, "amax", include_self=False)
        self.equal = low == high  # [num_groups]

    def sum(self, x: Tensor) -> Tensor:
        return self.zeros.index_add(0, self.index, x)  # [num_groups]

    def zero_if_equal(self, advantages: Tensor) -> Tensor:
        return torch.where(self.equal[self.index], 0.0, advantages)

    def require_pairs(self, why: str) -> None:
        if bool((self.size < 2).any()):
            alone = int((self.size < 2).sum())
            raise ValueError(
                f"group_size: {alone} group(s) hold one sample and {why} needs two; raise the group size"
            )


# Advantages of whole outputs; `gae`, `process_supervision` and `reinforce_pp` take a reward per token.
ADVANTAGES: dict[str, Callable[..., Tensor]] = {
    "raw_reward": raw_reward,
    "accepted_only": accepted_only,
    "signed": signed,
    "group_centered": group_centered,
    "group_normalized": group_normalized,
    "rloo": rloo,
    "max_rl": max_rl,
    "pass_at_k": pass_at_k,
}
