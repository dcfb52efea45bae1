"""Adapters: peft's own logits, peft's own files, the base underneath, and a sampler that sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from harness.model.files.hub import load_pretrained, save_pretrained
from harness.model.lora import WithoutAdapters, hub_state, inject, save_adapter
from harness.model.policy import Policy, token_logprobs
from harness.model.rows import pack_rows
from harness.rollout.native import NativeEngine
from harness.schema.run_config import ConfigError
from harness.schema.trainer_config import LoraConfig
from harness.training.saving import publish, save
from harness.training.trainer import train
from harness.types import Prompt, SamplingParams
from tests.unit.harness.model.test_policy import DIMS, random_policy
from tests.unit.harness.tiny import configure, run_on_untrained_base

pytest.importorskip("peft", reason="the extra [lora] is not installed")

SETTINGS = LoraConfig(rank=3, alpha=6)
ARCHITECTURES = ("llama", "llama_mqa_wide_heads", "qwen2", "qwen3")


def adapted(architecture: str, settings: LoraConfig = SETTINGS) -> Policy:
    """A random policy whose adapters are random too: fresh ones have B = 0 and do nothing."""
    policy = random_policy(DIMS[architecture])
    inject(policy, settings, seed=1, base="a/b")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(0.0, 0.1, generator=generator)
    return policy


def logits(policy: Policy, ids: torch.Tensor) -> torch.Tensor:
    states = policy.hidden(pack_rows(ids, torch.tensor([ids.shape[1]] * len(ids))))
    return (states @ policy.head_weight.T).view(*ids.shape, -1)


IDS = torch.randint(0, 61, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_loads_the_adapter_on_the_hub_model_with_the_same_logits(
    tmp_path: Path, architecture: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    policy = adapted(architecture)
    save_pretrained(random_policy(DIMS[architecture]), tmp_path / "base", eos_token_ids=(1,))
    save_adapter(policy, SETTINGS, tmp_path / "adapter", base="a/b")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    with torch.no_grad():
        theirs = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))(IDS).logits
        ours = logits(policy, IDS)
        without = logits(random_policy(DIMS[architecture]), IDS)
    assert torch.allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-5)
    assert (ours - without).abs().max() > 0.1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_merged_weights_and_the_low_rank_path_agree(tmp_path: Path, architecture: str) -> None:
    policy = adapted(architecture)
    save_pretrained(policy, tmp_path, eos_token_ids=(1,))
    merged = load_pretrained(tmp_path, dtype=torch.float32, device="cpu")
    assert torch.allclose(logits(policy, IDS), logits(merged, IDS), atol=1e-4)
    assert hub_state(policy).keys() == merged.state_dict().keys()


def test_adapters_on_some_modules_alone() -> None:
    some = LoraConfig(rank=2, alpha=2, targets=["k_proj", "up_proj"])
    policy = adapted("llama", some)
    trained = {
        n.split(".lora_")[0].rsplit(".", 1)[1] for n, p in policy.named_parameters() if p.requires_grad
    }
    assert trained == {"k_proj", "up_proj"}
    merged = Policy(policy.dims, dtype=torch.float32, device="cpu")
    merged.load_state_dict(hub_state(policy))
    assert torch.allclose(logits(policy, IDS), logits(merged, IDS), atol=1e-4)


def test_gradients_of_the_factors_are_those_of_the_merged_weight() -> None:
    # W' = W + s B A, so dL/dA = s Bᵀ G and dL/dB = s G Aᵀ, G = dL/dW'.
    policy = adapted("qwen2")
    merged = Policy(policy.dims, dtype=torch.float32, device="cpu")
    merged.load_state_dict(hub_state(policy))
    for model in (policy, merged):
        lengths, mask = torch.tensor([9, 9]), torch.ones(2, 9, dtype=torch.bool)
        token_logprobs(model, pack_rows(IDS, lengths, mask), temperature=0.7)[0].sum().backward()
    scale, found = SETTINGS.alpha / SETTINGS.rank, dict(policy.named_parameters())
    names = [n.removesuffix(".lora_A.default.weight") for n in found if n.endswith(".lora_A.default.weight")]
    assert len(names) == 7 * policy.dims.num_layers
    for name in names:
        a, b = found[f"{name}.lora_A.default.weight"], found[f"{name}.lora_B.default.weight"]
        whole = merged.get_parameter(f"{name}.weight").grad
        assert whole is not None and a.grad is not None and b.grad is not None
        assert torch.allclose(a.grad, scale * b.detach().T @ whole, rtol=1e-3, atol=2e-4), name
        assert torch.allclose(b.grad, scale * whole @ a.detach().T, rtol=1e-3, atol=2e-4), name
    assert all(p.grad is None for n, p in found.items() if ".lora_" not in n)


@torch.no_grad()
def test_the_base_is_the_policy_with_its_adapters_off() -> None:
    policy, base = adapted("llama"), random_policy(DIMS["llama"])
    under = WithoutAdapters(policy)
    rows = pack_rows(IDS, torch.tensor([9, 9]))
    assert torch.equal(under.hidden(rows), base.hidden(rows))
    assert torch.equal(under.head_weight, base.head_weight) and under.dims == base.dims
    assert not torch.allclose(policy.hidden(rows), base.hidden(rows), atol=0.01)  # on again


def test_the_sampler_sees_the_adapters() -> None:
    policy = adapted("llama")
    engine = NativeEngine(policy, eos_token_ids=(), decode=str, max_batch_size=4)
    (rollout,) = engine.generate(
        [Prompt("p", "", "", (5, 9))], params=SamplingParams(max_new_tokens=6, logprobs=True), seeds=[3]
    )
    ids = torch.tensor([[5, 9, *rollout.completion_ids]])
    mask = torch.tensor([[False] * 2 + [True] * 6])
    rows = pack_rows(ids, torch.tensor([8]), mask)
    expected, _ = token_logprobs(policy, rows, temperature=1.0)
    assert rollout.sampler_logprobs == pytest.approx(expected[0, 2:].tolist(), abs=1e-4)
    base, _ = token_logprobs(random_policy(DIMS["llama"]), rows, temperature=1.0)
    assert not torch.allclose(expected, base, atol=0.01)


def test_the_same_seed_gives_the_same_start_and_leaves_torch_s_own_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, second = adapted("llama").state_dict(), adapted("llama").state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)


LORA = (
    "trainer.lora={rank: 2, alpha: 4}",
    "trainer.steps=2",
    "trainer.lr=1e-2",
    "trainer.checkpoint_every=1",
)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_with_adapters_on_the_cpu(tmp_path: Path, dtype: str) -> None:
    run = run_on_untrained_base(
        tmp_path, *LORA, f"dtype={dtype}", "objective.reward={random: 1.0}", "rollout.max_sampler_kl=1"
    )
    frozen = {n: p.clone() for n, p in run.models.policy.named_parameters() if not p.requires_grad}
    start = hub_state(run.models.policy)
    rows: list[dict[str, float]] = []
    train(run, report=lambda *a: None, log=rows.append, evaluate=lambda r: None)
    assert len(rows) == 2 and rows[-1]["kl"] >= 0 and rows[-1]["kept_kl_forward"] > 0
    assert all(torch.equal(p, frozen[n]) for n, p in run.models.policy.named_parameters() if n in frozen)
    folder = run.folder / "checkpoints" / "step_000002"
    merged = load_pretrained(folder, dtype=getattr(torch, dtype), device="cpu").state_dict()
    assert any(not torch.equal(merged[name], start[name]) for name in start)
    assert json.loads((folder / "adapter" / "adapter_config.json").read_text())["r"] == 2
    assert (folder / "adapter" / "adapter_model.safetensors").exists()


def test_adapters_resume_to_the_bit(tmp_path: Path) -> None:
    def run_at(name: str):
        return run_on_untrained_base(tmp_path / name, *LORA, "objective.reward={random: 1.0}")

    def go(run, steps: int) -> None:
        object.__setattr__(run.config.trainer, "steps", steps)
        train(run, report=lambda *a: None, log=lambda m: None, evaluate=lambda r: None)

    whole = run_at("whole")
    go(whole, 2)
    broken = run_at("broken")
    go(broken, 1)
    save(broken)
    resumed = run_at("broken")
    assert resumed.counters.step == 1
    go(resumed, 2)
    found, expected = resumed.models.policy.state_dict(), whole.models.policy.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[n], expected[n]) for n in found)
    publish(resumed)


def test_settings_that_adapters_exclude() -> None:
    with pytest.raises(ConfigError, match="refresh_every"):
        configure(*LORA, "objective.kl.refresh_every=2")
    with pytest.raises(ConfigError, match="targets"):
        configure("trainer.lora={rank: 2, alpha: 4, targets: [embed_tokens]}")
