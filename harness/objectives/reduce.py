"""From [B, T] to a scalar, with denominators of the whole optimiser step.

`denominator` is called once with every row of the step; `reduce` once per microbatch; the results add up to
the same number whatever the split. (Dividing inside a microbatch instead changes the loss with the microbatch
size.)

    kind           numerator                        denominator (rows that count)
    token_mean     sum over all tokens              their completion tokens   DAPO, arXiv:2503.14476
    sequence_mean  sum over rows of the row's mean  their number              GRPO, arXiv:2402.03300
    sequence_sum   sum over all tokens              their number              policy gradient of outputs
    constant       sum over all tokens              their number * constant   Dr. GRPO, arXiv:2503.20783

`counted_rows` says which rows count; the numerator always has every row, so a dropped row's KL still acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

Reducer = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]
Over = Literal["all", "accepted", "nonzero"]


def counted_rows(*, advantages: Tensor, completion_mask: Tensor, over: Over) -> Tensor:
    """Rows that the denominator counts, bool [B]; `advantages` [B] or [B, T].

    all       every row: rejected, zero-advantage and fully masked ones too (with sequence_sum: the theory)
    accepted  rows with a positive advantage: SFT over accepted samples only
    nonzero   rows with any advantage other than 0: a group of equal rewards leaves the denominator
    """
    if advantages.dim() == 1:
        advantages = advantages.unsqueeze(-1)  # [B, 1]
    inside = torch.where(completion_mask.bool(), advantages, 0.0)  # [B, T]
    if over == "all":
        return torch.ones(inside.shape[0], dtype=torch.bool, device=inside.device)
    if over == "accepted":
        return (inside > 0).any(-1)
    if over == "nonzero":
        return (inside != 0).any(-1)
    raise ValueError(f"reduce.over: unknown '{over}'; choose all, accepted or nonzero")


def denominator(
    *, kind: Reducer, completion_mask: Tensor, counted: Tensor | None = None, constant: int | None = None
) -> float:
    """The whole step's denominator, rows or tokens. `completion_mask` [B, T], `counted` bool [B].

    Several processes add theirs up. Raises ValueError when "constant" has no constant.
    """
    lengths = completion_mask.bool().sum(-1)  # [B]
    if counted is None:
        counted = torch.ones_like(lengths, dtype=torch.bool)
    if kind == "token_mean":
        return float(lengths[counted].sum())
    rows = float(counted.sum())
    if kind != "constant":
        return rows
    if constant is None or constant <= 0:
        raise ValueError(f"reduce.constant: must be a positive number of tokens, got {constant}")
    return rows * constant


def reduce(*, loss: Tensor, completion_mask: Tensor, kind: Reducer, denominator: float) -> Tensor:
    """One microbatch's share of the step's loss: [B, T] -> scalar with grad. Shares add up to the whole.

    Padding may hold anything, NaN included. A denominator of 0 (no row counts) gives 0: the step does
    nothing.
    """
    mask = completion_mask.bool()
    inside = torch.where(mask, loss, 0.0)  # [B, T]
    if denominator == 0:
        return inside.sum() * 0.0
    if kind == "sequence_mean":
        rows = inside.sum(-1) / mask.sum(-1).clamp(min=1)  # [B]
        return rows.sum() / denominator
    if kind in ("token_mean", "sequence_sum", "constant"):
        return inside.sum() / denominator
    raise ValueError(f"reduce: unknown '{kind}'; choose token_mean, sequence_mean, sequence_sum, constant")
