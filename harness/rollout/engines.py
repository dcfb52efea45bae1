"""Load a policy with its sampler and its tokenizer, from a model folder or from this process's cache."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from harness.model.cache_bytes import cache_of
from harness.model.dims import kernels_take
from harness.model.files.codec import Codec
from harness.model.files.folder import folder_dims
from harness.model.files.hub import TOKENIZER_FILES, load_pretrained, load_weights, read_weights
from harness.model.lora import inject
from harness.model.policy import Policy
from harness.records.published import checked
from harness.rollout.native import NativeEngine
from harness.rollout.process_cache import cached, drop
from harness.rollout.vllm.engine import VllmEngine
from harness.schema.run_config import RunConfig
from harness.schema.trainer_config import RolloutConfig
from harness.types import RolloutEngine

# Settings of `rollout` that an engine gets with each call, not when it is built.
RUN_ROLLOUT = (
    *("prompts_per_step", "group_size", "max_new_tokens", "temperature", "top_p", "top_k", "keep"),
    *("max_sampler_kl", "search", "step_metrics"),
)
_end_tokens: dict[tuple[str, ...], tuple[int, ...]] = {}  # by the files' content: reading them takes long


def load_engine(config: RunConfig, weights: Path, device: str) -> tuple[Policy, RolloutEngine, Codec]:
    """Load a policy in hub format and build its sampler and its tokenizer."""
    policy, codec = load_policy(config, weights, device), Codec.from_folder(weights)
    shared: dict[str, Any] = {
        "eos_token_ids": codec.eos_token_ids,
        "decode": codec.decode,
        "max_batch_size": config.rollout.max_batch_size,
    }
    return policy, _engine(config, policy, shared), codec


def load_policy(config: RunConfig, weights: Path, device: str) -> Policy:
    """Load a hub folder's model in the run's dtype."""
    return load_pretrained(weights, dtype=getattr(torch, config.dtype), device=device)


def _engine(config: RunConfig, policy: Policy, shared: dict[str, Any]) -> RolloutEngine:
    rollout = config.rollout
    if rollout.engine == "native":
        if rollout.exact and not policy.head_weight.is_cuda:
            raise ValueError("rollout.exact is true; its kernels need a GPU: set it to false on a CPU")
        head_dim = policy.dims.head_dim
        if rollout.cache == "paged" and policy.head_weight.is_cuda and not kernels_take(head_dim):
            also = ", and rollout.exact=false" if rollout.exact else ""
            raise ValueError(
                f"rollout.cache=paged: its kernels take heads of 16, 32, 64, 128 or 256 numbers, not of "
                f"{head_dim}; set rollout.cache=whole{also}"
            )
        policy.exact = rollout.exact
        paged, cache_bytes = cache_of(config, head_dim) == "paged", _cache_bytes(rollout, policy)
        return NativeEngine(policy, **shared, paged=paged, cache_bytes=cache_bytes)
    return VllmEngine(policy, **shared, **rollout.vllm.model_dump(), sleep=rollout.release)


def _cache_bytes(rollout: RolloutConfig, policy: Policy) -> float | None:
    """Most bytes of keys and values on a GPU; None on a CPU."""
    device = policy.head_weight.device
    if device.type != "cuda":
        return None
    return rollout.cache_memory * torch.cuda.get_device_properties(device).total_memory


def warm_engine(
    config: RunConfig, weights: Path, device: str, *, original: Policy | None = None
) -> tuple[Policy, RolloutEngine, Codec]:
    """Reuse the engine of an earlier run of this architecture and these settings, or call `load_engine`.

    A reused engine's weights are replaced in place, from `original` (the same weights, in memory) or from
    disk, so that buffers and graphs stay valid. The engine is shared: the next call overwrites its weights.
    """
    (policy, engine, codec), warm = cached(
        "engine", engine_key(config, weights, device), lambda: load_engine(config, weights, device)
    )
    if warm:
        load_weights(policy, read_weights(weights) if original is None else original.state_dict())
        policy.zero_grad(set_to_none=True)
        policy.recompute_layers = policy.fp32_head = False
        engine.load_weights(policy.state_dict().items())
        if device == "cpu":
            engine.release()  # as in a fresh process, to the bit: a CPU allocates its buffers in no time
    return policy, engine, codec


@checked
def engine_key(config: RunConfig, weights: Path, device: str) -> tuple[str, ...]:
    """Identify what an engine is built for: architecture, tokenizer and settings, not the weights.

    config.json counts by its dimensions and end tokens alone: a checkpoint's file is written differently from
    its base's, yet the same engine samples both.
    """
    rollout = config.rollout.model_dump(exclude=set(RUN_ROLLOUT)) | {"cache": cache_of(config)}
    paths = [weights / name for name in ("config.json", *TOKENIZER_FILES)]
    files = tuple(sha256(path.read_bytes() if path.exists() else b"").hexdigest() for path in paths)
    if files not in _end_tokens:
        _end_tokens[files] = Codec.from_folder(weights).eos_token_ids
    return (
        str(folder_dims(weights)),
        str(_end_tokens[files]),
        *files[1:],
        config.dtype,
        device,
        str(rollout),
    )


def adapted_engine(
    config: RunConfig, weights: Path, device: str, *, seed: int
) -> tuple[Policy, RolloutEngine, Codec]:
    """Load a model with fresh adapters under training.

    Never cached: an engine's buffers and graphs hold the joined weights of the policy that it was built for.
    Drop the cached engine first, so that two are never in memory.
    """
    lora = config.trainer.lora
    assert lora is not None
    drop("engine", "base")
    policy, engine, codec = load_engine(config, weights, device)
    inject(policy, lora, seed=seed, base=config.model.hub_id or config.model.name)
    return policy, engine, codec
