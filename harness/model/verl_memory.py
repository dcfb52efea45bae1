"""Memory of one GPU where verl trains a run over many, part by part, before it starts. Imports no torch.

Computed from the shapes, not measured: verl 0.9.1 with FSDP2 (float32 masters in shards, bfloat16 compute,
the reference in the nodes' memory) and vLLM on the same GPUs, asleep while gradients are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.model.dims import ModelDims, num_parameters
from harness.model.files.source import shape
from harness.model.needs import GIB
from harness.model.preflight import LONGEST_PROMPT_TOKENS, gpu_total
from harness.schema.run_config import ConfigError, RunConfig

STATED_GPU = 80 * GIB  # where no GPU is asked: an A100's or H100's
_RUNTIME = 2.0 * GIB  # CUDA's contexts of two processes, NCCL's buffers, kernels; stated
_VLLM_WORK = 2.0 * GIB  # activations and CUDA graphs inside vLLM's share; stated
_LOGIT = 8.0  # bytes: bfloat16, its gradient, one float32 copy
_COMPUTE = 2  # bytes of a bfloat16


@dataclass(frozen=True)
class RankNeeds:
    """Bytes of a GPU by part, in training and in sampling; and of its share of a node's memory.

    `cache_tokens`: tokens of keys and values that one sampler holds beside its weights.
    """

    training: dict[str, float]
    sampling: dict[str, float]
    host: dict[str, float]
    cache_tokens: float

    @property
    def total(self) -> float:
        """Bytes at the peak."""
        return max(sum(self.training.values()), sum(self.sampling.values()))


def rank_needs(config: RunConfig, dims: ModelDims, gpu_bytes: float) -> RankNeeds:
    """Memory of one of trainer.verl's GPUs with so many bytes."""
    machines = config.trainer.verl
    shards = float(num_parameters(dims)) / machines.num_gpus
    held = {"weights": 4 * shards, "optimiser": 8 * shards}
    tokens = tokens_at_once(config)
    training = {
        "PyTorch": _RUNTIME,
        **held,
        "gradients": 4 * shards,
        "gathered layers": _gathered(dims),
        "activations": _activations(config, dims, tokens),
        "logits": _LOGIT * tokens * dims.vocab_size,
    }
    share = machines.memory * gpu_bytes
    weights = _COMPUTE * float(num_parameters(dims)) / machines.tensor_parallel
    cache = max(0.0, share - weights - _VLLM_WORK)
    sampling = {
        "PyTorch": _RUNTIME,
        **({} if machines.offload else held),
        "sampler's weights": weights,
        "sampler's work": _VLLM_WORK,
        "keys and values": cache,
    }
    host: dict[str, float] = {"offloaded": sum(held.values())} if machines.offload else {}
    if config.objective.kl.uses_reference:
        host["reference"] = 4 * shards
    return RankNeeds(training, sampling, host, cache * machines.tensor_parallel / cache_bytes(dims))


def cache_bytes(dims: ModelDims) -> float:
    """Bytes of one token's keys and values, over all GPUs of a sampler."""
    return 2.0 * dims.num_layers * dims.num_kv_heads * dims.head_dim * _COMPUTE


def tokens_at_once(config: RunConfig) -> float:
    """Tokens of one GPU's largest microbatch: a row is split over `sequence_parallel` GPUs and no further."""
    longest = LONGEST_PROMPT_TOKENS + config.rollout.max_new_tokens
    return float(max(config.trainer.microbatch_tokens, -(-longest // config.trainer.verl.sequence_parallel)))


def _gathered(dims: ModelDims) -> float:
    """Bytes of what is whole for a moment: two layers, their gradients, and embedding and head throughout."""
    ends = (1 if dims.tie_word_embeddings else 2) * dims.vocab_size * dims.hidden_size
    layer = (num_parameters(dims) - ends) / dims.num_layers
    return _COMPUTE * (2 * layer + ends) + 4 * layer + 4 * ends


def _activations(config: RunConfig, dims: ModelDims, tokens: float) -> float:
    """Bytes that a microbatch saves for its backward pass, and of the layer at work."""
    attention = (3 * dims.num_heads + 2 * dims.num_kv_heads) * dims.head_dim
    layer = 4 * dims.hidden_size + attention + 3 * dims.intermediate_size
    work = 2 * dims.hidden_size + attention + 4 * dims.intermediate_size
    saved = dims.hidden_size * dims.num_layers + layer
    whole = saved if config.trainer.gradient_checkpointing else layer * dims.num_layers
    return _COMPUTE * tokens * (whole + work)


def gpu_bytes(*, here: bool) -> tuple[float, str]:
    """(bytes of a GPU, where the number is from); `here`: of this machine, if it has one."""
    found = gpu_total() if here else None
    return (STATED_GPU, "stated") if found is None else (float(found), "of this machine")


def describe(config: RunConfig, *, here: bool = True) -> list[str]:
    """Lines of `--plan` about one rank."""
    dims, machines = shape(config.model, vocab_size=1), config.trainer.verl
    if dims is None:
        return [f"{config.model.name}: memory unknown until its config.json is downloaded"]
    have, source = gpu_bytes(here=here)
    need = rank_needs(config, dims, have)
    verdict = "fits" if need.total <= have else "DOES NOT FIT"
    whole = LONGEST_PROMPT_TOKENS + config.rollout.max_new_tokens
    per_node = sum(need.host.values()) * machines.gpus
    lines = [
        f"{config.model.name} on verl, a rank of {machines.nodes} × {machines.gpus} GPUs with "
        f"{have / GIB:.0f} GiB ({source}): {need.total / GIB:.1f} at the peak, {verdict}",
        f"  in training {_named(need.training)}",
        f"  in sampling {_named(need.sampling)}; {need.cache_tokens / whole:.0f} whole outputs a sampler",
    ]
    return lines + [f"  of a node's memory {per_node / GIB:.0f}: {', '.join(need.host)}"] * bool(need.host)


def check_fits(config: RunConfig) -> None:
    """Raises ConfigError for a run that cannot fit on this machine's GPUs; it is not asked about others."""
    dims = shape(config.model, vocab_size=1)
    have = gpu_total()
    if dims is None or have is None or config.trainer.verl.ray is not None:
        return
    need = rank_needs(config, dims, float(have))
    phase = need.training if sum(need.training.values()) > have else need.sampling
    if need.total > have:
        raise ConfigError(
            f"model={config.model.name}: a rank takes about {need.total / GIB:.1f} GiB and a GPU here has "
            f"{have / GIB:.1f}; most is {_named(dict(_largest(phase)))}; {_remedy(config)}"
        )
    if need.cache_tokens < LONGEST_PROMPT_TOKENS + config.rollout.max_new_tokens:
        raise ConfigError(
            f"trainer.verl.memory={config.trainer.verl.memory:g}: beside its weights a sampler holds "
            f"{need.cache_tokens:.0f} tokens, and one output takes {config.rollout.max_new_tokens}; raise "
            "it, or trainer.verl.tensor_parallel"
        )


def _remedy(config: RunConfig) -> str:
    trainer = config.trainer
    found = [
        (not trainer.gradient_checkpointing, "set trainer.gradient_checkpointing=true"),
        (not trainer.verl.offload, "trainer.verl.offload=true"),
        (True, f"raise trainer.verl.sequence_parallel={trainer.verl.sequence_parallel}"),
        (True, f"lower trainer.verl.memory={trainer.verl.memory:g}, or take more GPUs"),
    ]
    return ", ".join(text for applies, text in found if applies)


def _largest(parts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(parts.items(), key=lambda part: -part[1])[:3]


def _named(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value / GIB:.1f}" for name, value in parts.items())
