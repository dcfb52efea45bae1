"""Two policies of `enumerated`: the one that is trained, and its reference; and a run as verl finds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.schema.run_config import RunConfig
from harness.training.verl.slots import CONFIG
from tests.conformance.enumerated import V
from tests.conformance.verl_steps import ON_VERL
from tests.unit.harness.tiny import configure


@pytest.fixture
def theta() -> Tensor:
    return torch.randn(
        V + 1, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()


@pytest.fixture
def ref() -> Tensor:
    return torch.randn(V + 1, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def on_verl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunConfig]:
    """Set up a run of these overrides as each process of verl finds it."""
    import harness.training.verl.register  # noqa: F401

    def made(*overrides: str) -> RunConfig:
        config = configure(*ON_VERL, *overrides)
        path = tmp_path / f"config-{len(list(tmp_path.iterdir()))}.json"
        path.write_text(config.model_dump_json())
        monkeypatch.setenv(CONFIG, str(path))
        return config

    return made
