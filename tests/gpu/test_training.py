"""A training step on a GPU: the CPU never waits for it within a microbatch, and its gradient is the CPU's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness import gradient
from harness.update import build_batch, update
from tests.unit.harness.test_update import EQUAL, MIXED, WRONG, policy, weights
from tests.unit.harness.tiny import configure

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)

LINES = ("objective=grpo", "trainer.warmup_steps=0", "trainer.lr=1e-3", "trainer.max_grad_norm=1e9")
UPDATES = ("objective.updates.minibatches=1", "objective.updates.epochs=1", "trainer.microbatch_tokens=13")


def trained(device: str, dtype: torch.dtype) -> torch.Tensor:
    """The weights after an optimiser step of SGD."""
    config = configure(*LINES, *UPDATES)
    model, reference = policy().to(device, dtype), policy(5).to(device, dtype)
    update(
        model,
        reference,
        torch.optim.SGD(model.parameters(), lr=0.0),
        build_batch([MIXED, EQUAL, WRONG], config.objective),
        config=config,
        order=torch.Generator().manual_seed(0),
        num_updates_done=0,
        num_updates_total=10,
    )
    return weights(model).float().cpu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_microbatch_never_waits_and_the_step_is_the_cpus(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = weights(policy()).float()
    expected = trained("cpu", torch.float32) - start
    found = trained("cuda", dtype) - start  # compiles, which waits
    assert float((found - expected).norm() / expected.norm()) < (1e-3 if dtype == torch.float32 else 0.15)

    def watched(function: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            torch.cuda.set_sync_debug_mode("error")
            try:
                return function(*args, **keywords)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return call

    for name in ("_microbatch", "_packed", "_put", "take", "token_logprobs"):
        monkeypatch.setattr(gradient, name, watched(getattr(gradient, name)))
    again = trained("cuda", dtype) - start
    assert float((again - expected).norm() / expected.norm()) < (1e-3 if dtype == torch.float32 else 0.15)
