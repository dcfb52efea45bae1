"""The sampler's gap by depth of the context, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.training.depth import gap_by_depth


def test_a_token_counts_where_its_context_ends() -> None:
    # Row 0: completion tokens at 126 to 129, gaps .1, .2, .4, .8: two precede 128 columns, two do not.
    # Row 1: 511 and 512, gaps 3 and 5. Row 2 has no gradient.
    shape = (3, 600)
    mask, gap = torch.zeros(shape, dtype=torch.bool), torch.full(shape, 99.0)
    mask[0, 126:130], mask[1, 511:513], mask[2, :] = True, True, True
    gap[0, 126:130] = torch.tensor([0.1, -0.2, 0.4, -0.8])
    gap[1, 511:513] = torch.tensor([3.0, -5.0])
    batch: Any = SimpleNamespace(
        completion_mask=mask, sampler_logprobs=gap - 1.5, old_logprobs=torch.full(shape, -1.5)
    )
    found = gap_by_depth(batch, torch.tensor([0, 1]))
    assert found == {
        "sampler_gap_to_128": pytest.approx(0.15),
        "sampler_gap_to_512": pytest.approx((0.4 + 0.8 + 3.0) / 3),
        "sampler_gap_to_2k": pytest.approx(5.0),
    }
