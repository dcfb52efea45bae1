"""The order in which a run meets its training problems."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from harness.seeds import derive


def problem_numbers(positions: Iterable[int], *, total: int, seed: int) -> list[int]:
    """Numbers in 0..total-1 of the problems at these positions: a fresh permutation each `total` positions.

    `seed` is that of the stream `data_order`.
    """
    found, epoch, order = [], -1, torch.empty(0)
    for position in positions:
        if position // total != epoch:
            epoch = position // total
            generator = torch.Generator().manual_seed(derive(seed, "epoch", epoch))
            order = torch.randperm(total, generator=generator)
        found.append(int(order[position % total]))
    return found
