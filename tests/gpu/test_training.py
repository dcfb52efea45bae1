"""A training step on a GPU: the CPU never waits for it within a microbatch, and its gradient is the CPU's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.model.policy import Policy
from harness.training import gradient
from harness.training.advantages import build_batch
from harness.training.models import Models
from harness.training.update import update
from tests.benchmarks.shapes import random_policy
from tests.unit.harness.model.test_policy import DIMS
from tests.unit.harness.model.test_rows import results, rows_of
from tests.unit.harness.tiny import configure
from tests.unit.harness.training.one_step import EQUAL, MIXED, WRONG, policy, weights

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA GPU", allow_module_level=True)

SHAPES = {name: replace(DIMS[name], head_dim=8) for name in ("llama", "qwen2", "qwen3")}
LINES = ("objective=grpo", "trainer.warmup_steps=0", "trainer.lr=1e-3", "trainer.max_grad_norm=1e9")
UPDATES = ("objective.updates.minibatches=1", "objective.updates.epochs=1", "trainer.microbatch_tokens=13")


def error(out: torch.Tensor, reference: torch.Tensor) -> float:
    reference = reference.double().cpu()
    return float((out.double().cpu() - reference).norm() / reference.norm())


def trained(device: str, dtype: torch.dtype) -> torch.Tensor:
    """The weights after an optimiser step of SGD."""
    config = configure(*LINES, *UPDATES, f"dtype={str(dtype).removeprefix('torch.')}")
    model, reference = policy().to(device, dtype), policy(5).to(device, dtype)
    for each in (model, reference):
        each.rotations(1)  # a table, copied to the device once in a run
    update(
        Models(model, reference),
        torch.optim.SGD(model.parameters(), lr=0.0),
        build_batch([MIXED, EQUAL, WRONG], config.objective),
        config=config,
        order=torch.Generator().manual_seed(0),
        num_updates_done=0,
        num_updates_total=10,
    )
    return weights(model).float().cpu()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("dtype", "padded"), [(torch.float32, True), (torch.bfloat16, False)])
def test_a_shared_prompt_is_computed_once_and_rightly(name: str, dtype: torch.dtype, padded: bool) -> None:
    """The kernel's queries are the last of a row's keys: rows with shared prompts against the CPU's alone."""
    policy = random_policy(SHAPES[name], dtype=dtype, device="cuda", std=0.05)
    reference = Policy(SHAPES[name], dtype=torch.float64, device="cpu")
    reference.load_state_dict({k: v.double().cpu() for k, v in policy.state_dict().items()})
    alone, weight = rows_of(padded=None)
    shared, _ = rows_of(padded=padded, device="cuda")
    expected, found = results(reference, alone, weight), results(policy, shared, weight.cuda())
    limit = 2e-5 if dtype == torch.float32 else 0.1
    for x, y in zip(found, expected, strict=True):
        assert error(x, y) < limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_microbatch_never_waits_and_the_step_is_the_cpus(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = weights(policy()).float()
    expected = trained("cpu", torch.float32) - start
    found = trained("cuda", dtype) - start  # compiles, which waits
    assert error(found, expected) < (1e-3 if dtype == torch.float32 else 0.15)

    def watched(function: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            torch.cuda.set_sync_debug_mode("error")
            try:
                return function(*args, **keywords)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return call

    for name in ("_backward", "_pack", "_put", "take", "token_logprobs"):
        monkeypatch.setattr(gradient, name, watched(getattr(gradient, name)))
    again = trained("cuda", dtype) - start
    assert error(again, expected) < (1e-3 if dtype == torch.float32 else 0.15)
