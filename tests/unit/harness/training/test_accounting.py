"""What a step cost: phases that add up, rates and MFU by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.model.dims import flops_per_token, forward_flops
from harness.model.lora import inject
from harness.model.policy import init_policy, token_logprobs
from harness.model.rows import pack_rows
from harness.schema.trainer_config import LoraConfig
from harness.training import accounting
from harness.training.accounting import Meter, mfu, peak_flops
from harness.training.advantages import build_batch
from harness.training.batching import work
from harness.training.flops import trained_flops
from harness.training.models import Models
from harness.training.step_costs import rates
from harness.training.trainer import sample_and_grade, update_policy
from harness.types import Prompt, Rollout
from tests.reproducible import reproducible
from tests.unit.harness.tiny import DIMS, run_on_untrained_base


def test_an_inner_phase_is_taken_out_of_the_outer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 4.0, 9.0])  # outer starts, inner starts, inner ends, outer ends
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    booked: list[tuple[str, float]] = []
    meter = Meter(torch.device("cpu"), lambda name, seconds, peak: booked.append((name, seconds)))
    with meter.phase("train"), meter.phase("reference"):
        pass
    assert booked == [("train", 1.0), ("reference", 3.0), ("train", 5.0)]


def test_a_phase_that_raises_is_booked_and_closed() -> None:
    booked: list[str] = []
    meter = Meter(torch.device("cpu"), lambda name, seconds, peak: booked.append(name))
    with pytest.raises(RuntimeError), meter.phase("sample"):
        raise RuntimeError
    with meter.phase("grade"):
        pass
    assert booked == ["sample", "grade"]


def test_a_step_counts_its_own_costs_alone(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective=grpo", "objective.updates.minibatches=1")
    counters = run.counters
    counters.seconds, counters.tokens, counters.flops = {"sample": 50.0}, {"sampled": 1000}, {"sampled": 1e9}
    run.begin_step()
    groups, metrics = sample_and_grade(run)
    update_policy(run, groups, total=2)
    found = run.current.costs.metrics(counters, run.device)
    assert found["sampled_per_second"] == pytest.approx(metrics["sampled_tokens"] / found["seconds_sample"])
    assert found["trained_per_second"] == pytest.approx(counters.tokens["trained"] / found["seconds_train"])
    # The reference pass stands beside `train`, not in it; every row is scored once by the reference, and
    # trained once.
    assert found["seconds_reference"] > 0 and counters.tokens["scored"] == counters.tokens["trained"]
    assert counters.seconds["sample"] == pytest.approx(50 + found["seconds_sample"])
    assert found["flops"] == pytest.approx(sum(counters.flops.values()) - 1e9)
    assert counters.flops["trained"] == pytest.approx(3 * counters.flops["scored"])
    assert not {"mfu", "gpu_seconds"} & found.keys()  # a CPU has neither
    assert found["peak_memory_train"] == counters.peak_memory["train"] > 1e7
    assert set(reproducible(found)) == {"flops"}
    whole = rates(counters, run.device)
    assert whole["sampled_per_second"] == pytest.approx(
        counters.tokens["sampled"] / counters.seconds["sample"]
    )
    assert whole["trained_per_second"] == found["trained_per_second"] and len(whole) == 2


def test_trained_flops_are_exact_over_rows_of_different_lengths(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "objective=grpo")
    groups, _ = sample_and_grade(run)
    update_policy(run, groups, total=2)
    by_hand, lengths = 0.0, set[int]()
    for g in groups:
        start = len(g.prompt.token_ids)
        for i, r in enumerate(g.rollouts):
            first, end = start if i else 0, start + len(r.completion_ids)  # a group's prompt is computed once
            # Layers 1024 + 1152 weights, and 16 for a key and query; the head 16 V for completions alone.
            by_hand += 6 * 2176 * (end - first) + 6 * 16 * run.models.policy.dims.vocab_size * (end - start)
            by_hand += 12 * 16 * sum(range(first + 1, end + 1))
            lengths.add(end)
    assert len(lengths) > 1
    assert run.counters.flops["trained"] == pytest.approx(by_hand, rel=1e-12)


def matmul_flops(of: Callable[[], object]) -> int:
    """What PyTorch counts of what is called, attention apart."""
    with FlopCounterMode(display=False) as counter:
        of()
    found = counter.get_flop_counts()["Global"]
    return sum(n for op, n in found.items() if op in (torch.ops.aten.mm, torch.ops.aten.addmm))


@pytest.mark.parametrize(
    ("lines", "passes"),
    [
        (("objective=grpo", "objective.kl.coef=0"), 3),  # forward and backward
        (("objective=grpo", "objective.kl.coef=0.1"), 3 + 1),  # and the reference
        # Forward and backward of the policy and of the value model, the old logprobs, the values, and the KL
        # that the coefficient adapts to.
        (("objective=ppo",), 9),
    ],
)
def test_a_steps_flops_are_those_that_pytorch_counts(
    tmp_path: Path, lines: tuple[str, ...], passes: int
) -> None:
    reward = ("objective.reward.accuracy=0", "objective.reward.random=1")
    run = run_on_untrained_base(tmp_path, *reward, "objective.updates.minibatches=1", *lines)
    groups, _ = sample_and_grade(run)
    groups = [replace(g, rewards=(1.0, *g.rewards[1:-1], 0.0)) for g in groups]  # so that each has a gradient
    run.counters.flops = {}
    counted = matmul_flops(lambda: update_policy(run, groups, total=2))
    batch = build_batch(groups, run.config.objective)
    attention = 4 * 16 * work(batch, torch.arange(len(batch.lengths)))["pairs"]  # one layer, one head of 16
    # A value model's head of 16 weights is left out.
    assert counted + passes * attention == pytest.approx(sum(run.counters.flops.values()), rel=2e-3)


def test_what_adapters_freeze_has_no_gradient_of_its_own() -> None:
    dims = replace(DIMS, hidden_size=64, intermediate_size=96, num_heads=4, num_layers=12)
    policy = init_policy(dims, 0)
    inject(policy, LoraConfig(rank=1, alpha=2), seed=0, base="tiny")
    ids, lengths = torch.randint(0, 11, (3, 20)), torch.full((3,), 20)
    wanted = torch.zeros(3, 20, dtype=torch.bool)
    wanted[:, 8:] = True
    rows = pack_rows(ids, lengths, wanted)
    counted = matmul_flops(lambda: token_logprobs(policy, rows, temperature=1.0)[0].sum().backward())
    done = {"tokens": 60.0, "predicted": 36.0, "pairs": 0.0}
    # The first layer's inputs are the embedding's, which has no gradient: a twelfth of a third is less.
    assert counted == pytest.approx(trained_flops(Models(policy), done), rel=0.03)
    assert counted < 0.75 * 3 * forward_flops(dims, **done)


def test_sampling_computes_a_shared_prompt_once_and_every_key(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path)
    prompts = [Prompt("a", "question", "", (1, 2, 3, 4))] * 2 + [Prompt("b", "question", "", (5,))]
    made = [Rollout(p.problem_id, 0, (6, 7), "", None, "stop") for p in prompts]
    run.count("sampled", prompts, made)
    # Rows of 6, 6 and 3 tokens; the second needs its last 2 alone: 11 tokens, 6 of them predicted, and as
    # many keys as stand before each: 1..6, 5..6, 1..3 are 21 + 11 + 6.
    head = 16 * run.models.policy.dims.vocab_size
    assert run.counters.tokens["sampled"] == 6
    assert run.counters.flops["sampled"] == 2 * (2176 * 11 + head * 6) + 4 * 16 * 38


def test_mfu_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # D 16, F 24, one head of 16, V 11: q, k, v, o 4 * 16 * 16 = 1024, MLP 3 * 16 * 24 = 1152, head 176.
    # 6 * 2352 + causal attention 6 * 16 * 10 at a context of 10 = 15072 FLOPs a token.
    assert flops_per_token(DIMS, 10) == 15072
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert accounting.peak_flops("NVIDIA H100 PCIe") == 756e12
    found = mfu(15072 * 1e9, 2.0, torch.device("cuda"), 2)
    assert found == {"mfu": pytest.approx(15072e9 / 2.0 / (2 * 989e12))}
    assert peak_flops("AMD EPYC") is None


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA H20", None),
    ],
)
def test_a_peak_is_of_the_device_named_and_of_no_other(device: str, peak: float | None) -> None:
    assert peak_flops(device) == peak


@pytest.mark.parametrize("name", ["rl_step", "rl_step_smollm2"])
def test_the_committed_steps_have_the_form_that_is_promised(name: str) -> None:
    found = json.loads((Path("outputs/reference/bench") / f"{name}.json").read_text())
    assert {"device", "commit", "versions", "settings", "ours_s", "trl_s"} <= found.keys()
    assert isinstance(found["commit"], str) and not found["dirty"]
    assert len(found["ours_s"]) >= 3 and len(found["trl_s"]) >= 2


def test_peak_memory_is_this_process_own_and_not_its_parents() -> None:
    held = b"x" * (2 * 10**9)
    code = "from harness.training.accounting import peak_resident_bytes as p; x = b'x' * 10**8; print(p())"
    child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert 1e8 < int(child.stdout) < len(held)


def test_a_phases_peak_is_what_it_had_at_most_and_no_other_phases() -> None:
    booked: dict[str, int] = {}
    meter = Meter(torch.device("cpu"), lambda name, seconds, peak: booked.update({name: peak}))
    with meter.phase("sample"):
        before = accounting.resident_bytes()
    with meter.phase("train"):
        held = b"x" * (4 * 10**8)
        del held  # gone by the phase's end
    with meter.phase("sync"):
        pass
    assert booked["train"] > before + 3e8
    assert booked["sample"] < before + 1e8 and booked["sync"] < before + 1e8


def test_where_a_peak_cannot_begin_anew_it_is_what_is_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    accounting.begin_peak(torch.device("cpu"))
    held = b"x" * (4 * 10**8)
    del held
    monkeypatch.setattr(accounting, "_can_begin_peak", lambda: False)
    assert accounting.peak_bytes(torch.device("cpu")) < accounting.peak_resident_bytes() - 3e8
