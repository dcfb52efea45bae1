"""Two policies of `enumerated`: the one that is trained, and its reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.conformance.enumerated import V


@pytest.fixture
def theta() -> Tensor:
    return torch.randn(
        V + 1, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()


@pytest.fixture
def ref() -> Tensor:
    return torch.randn(V + 1, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
