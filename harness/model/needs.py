"""A run's peak bytes in training, part by part, from its settings and dimensions. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness.model.cache_bytes import most_cache_bytes
from harness.model.chunks import (
    CHUNK_ELEMENTS,
    MAX_SAVED_ELEMENTS,
    MIN_CHUNK_TOKENS,
    RETENTION_CHUNK_ELEMENTS,
)
from harness.model.dims import ModelDims, num_parameters
from harness.model.files.teacher_files import teacher_dims
from harness.model.machine import gpu_total
from harness.schema.run_config import RunConfig

# Tokens of a prompt, before prompts are known: the longest decides memory, a typical one decides time.
LONGEST_PROMPT_TOKENS = 256
TYPICAL_PROMPT_TOKENS = 40  # a terse generated problem; a document of the corpus is about as long
LADDER_VOCABULARY = 1000
GIB = 2**30
_RUNTIME = {"cpu": 0.4 * GIB, "cuda": 0.8 * GIB}  # PyTorch itself; CUDA's context and kernels
_EXCHANGE = {"cpu": 0.05 * GIB, "cuda": 1.5 * GIB}  # several processes: NCCL's buffers, buckets of gradients
_BYTES_PER_LOGIT = 12.0  # float32: the logit, and what a chunk or a sampling step computes from it
_VLLM_CPU = 0.4 * GIB  # its packages and buffers, measured with a tiny model; its cache is resident at once


@dataclass(frozen=True)
class Placement:
    """How a run's weights lie in its processes, each on a GPU of its own.

    Whole in each, with a share of the optimiser's state (replicas), or in shards. `frozen_sharded`: also
    those that no optimiser updates, the reference and the base that retention is measured against.
    """

    processes: int = 1
    sharded: bool = False
    frozen_sharded: bool = False

    @property
    def name(self) -> str:
        """For a record: one, replicas or sharded."""
        return "one" if self.processes == 1 else "sharded" if self.sharded else "replicas"


ALONE = Placement()


@dataclass(frozen=True)
class Needs:
    """Bytes by part, and the peak: all of `always`, with the larger of what sampling and training add."""

    always: dict[str, float]
    sampling: dict[str, float]
    training: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.always.values()) + max(sum(self.sampling.values()), sum(self.training.values()))

    @property
    def parts(self) -> dict[str, float]:
        return {**self.always, **self.sampling, **self.training}


def needs(config: RunConfig, dims: ModelDims, device: str, placement: Placement = ALONE) -> Needs:
    """Memory of one process of a run on `device`, cpu or cuda. vLLM's share is of this GPU, or of 80 GiB."""
    size, whole = (4 if config.dtype == "float32" else 2), float(num_parameters(dims))
    ranks, trained = placement.processes, _trained(config, dims)
    always = {"PyTorch": _RUNTIME[device], "policy": whole * size}
    always |= {"exchange between processes": _EXCHANGE[device]} if ranks > 1 else {}
    always |= {"optimizer": _optimizer(config, dims, trained, placement)}
    frozen = whole * size / (ranks if placement.frozen_sharded else 1)
    if config.trainer.lora is None:
        always["base"] = frozen  # the reference, and what is kept is measured against
    if config.start is not None:
        always["untrained base"] = frozen  # what is kept is measured against it, not a stage's start
    if config.objective.kl.refresh_every is not None:
        always["another reference"] = frozen
    teacher = teacher_dims(config.objective, config.model, vocab_size=LADDER_VOCABULARY)
    if teacher is not None:
        always["teacher"] = float(num_parameters(teacher)) * size
    value = config.objective.value
    if value is not None and not value.shared_trunk:
        always["value model"] = whole * (2 * size + (8 + (4 if size < 4 else 0)) / ranks)
    learned = (config.objective.reward_model, config.objective.process_reward_model)
    always |= {"reward models": 16 * whole} if any(x is not None for x in learned) else {}
    engine_always, sampling = _engine(config, dims, device, size, ranks)
    always |= engine_always
    if teacher is not None and "offline.sampler" in config.objective.asks_teacher:
        sampling["teacher's keys and values"] = _cache(config, teacher, size, ranks)
    training = {
        **_gradients(config, dims, trained, size, placement),
        "activations": _activations(config, dims, size),
        "logits": _logits(config, dims, device, size) + dims.vocab_size * dims.hidden_size * 4.0,
    }
    return Needs(always, sampling, training)


def _optimizer(config: RunConfig, dims: ModelDims, trained: float, placement: Placement) -> float:
    """Bytes of moments and float32 masters: a process's share, but of 8-bit moments, which each has whole."""
    has_masters = config.dtype != "float32" or placement.sharded
    found = _moments(config, dims, trained) + (4 * trained if has_masters else 0)
    return found if config.trainer.optimizer == "adamw_8bit" else found / placement.processes


def _gradients(
    config: RunConfig, dims: ModelDims, trained: float, size: int, placement: Placement
) -> dict[str, float]:
    """Bytes of gradients, with those of projections that are joined, or of what is gathered from shards."""
    joined, ranks = _joined(dims) * size, placement.processes
    if placement.sharded:
        head = dims.vocab_size * dims.hidden_size * (1 if dims.tie_word_embeddings else 2)
        layer = (num_parameters(dims) - head) / dims.num_layers
        gathered = head * (size + 4.0) + layer * (2 * size + 4)  # of two layers: the next comes ahead
        return {
            "gradients": 4.0 * trained / ranks,
            "gathered weights and gradients": gathered + 2 * joined / dims.num_layers,
        }
    narrow = size < 4  # then float32 copies live for a step
    copies = trained * size if ranks == 1 else 4 * trained / ranks
    return {
        "gradients": trained * size + (copies if narrow else 0),
        "joined weights and gradients": joined * (2 if config.trainer.lora is None else 1),
    }


def _engine(
    config: RunConfig, dims: ModelDims, device: str, size: int, ranks: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Bytes that the sampler holds always, and those that it holds only while it samples."""
    rollout, whole = config.rollout, float(num_parameters(dims))
    if rollout.engine == "native":
        sampling = {
            "sampler's joined weights": _joined(dims) * size,
            "logits of a sampled token": _rows(config, ranks) * dims.vocab_size * _BYTES_PER_LOGIT,
        }
        most = most_cache_bytes(config, device, gpu_total(), dims.head_dim)
        cache = {"keys and values": min(most, _cache(config, dims, size, ranks))}
        return ({}, sampling | cache) if rollout.release else (cache, sampling)
    if device == "cuda":
        share = {"vLLM's share": rollout.vllm.memory * (gpu_total() or 80 * GIB)}
        return ({}, share) if rollout.release else (share, {})
    cache_gib = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
    size = {"auto": size, "float32": 4, "bfloat16": 2}[rollout.vllm.dtype]
    return {
        "vLLM": _VLLM_CPU,
        "vLLM's weights": whole * size,
        "vLLM's keys and values": cache_gib * GIB,
    }, {}


def _moments(config: RunConfig, dims: ModelDims, trained: float) -> float:
    """Bytes of AdamW's moments; of 8 bits, but of an embedding's 32 (`training.optim`)."""
    if config.trainer.optimizer == "adamw":
        return 8 * trained
    return 2 * trained + (6.0 * dims.vocab_size * dims.hidden_size if config.trainer.lora is None else 0.0)


def _trained(config: RunConfig, dims: ModelDims) -> float:
    """Parameters that the optimiser updates: all, or those of the adapters."""
    lora = config.trainer.lora
    if lora is None:
        return float(num_parameters(dims))
    query, key, inner = (
        dims.num_heads * dims.head_dim,
        dims.num_kv_heads * dims.head_dim,
        dims.intermediate_size,
    )
    ends = {"q_proj": query, "k_proj": key, "v_proj": key, "gate_proj": inner, "up_proj": inner}
    both = {name: dims.hidden_size + end for name, end in ends.items()}
    both |= {"o_proj": query + dims.hidden_size, "down_proj": inner + dims.hidden_size}
    return float(lora.rank * dims.num_layers * sum(both[name] for name in lora.targets))


def _joined(dims: ModelDims) -> float:
    """Elements of the joined projections: queries with keys and values, gate with up."""
    heads = dims.num_heads + 2 * dims.num_kv_heads
    return float(dims.num_layers * dims.hidden_size * (heads * dims.head_dim + 2 * dims.intermediate_size))


def _rows(config: RunConfig, ranks: int) -> int:
    """Sequences that a process samples together."""
    return min(config.rollout.max_batch_size, _share(config, ranks))


def _share(config: RunConfig, ranks: int) -> int:
    """Sequences that a process samples in a step."""
    return -(-config.rollout.prompts_per_step * config.rollout.group_size // ranks)


def _cache(config: RunConfig, dims: ModelDims, size: int, ranks: int) -> float:
    tokens = LONGEST_PROMPT_TOKENS + config.rollout.max_new_tokens
    if _rows(config, ranks) < _share(config, ranks):
        tokens += max(64, tokens // 2)  # rows are refilled
    return 2.0 * dims.num_layers * _rows(config, ranks) * dims.num_kv_heads * dims.head_dim * tokens * size


def _logits(config: RunConfig, dims: ModelDims, device: str, size: int) -> float:
    """Bytes of logits alive in training: a CPU's largest chunk; on a GPU the whole microbatch's if they are
    saved for the backward pass, else a chunk's."""
    if device == "cpu":
        head = max(CHUNK_ELEMENTS["cpu"], MIN_CHUNK_TOKENS * dims.vocab_size)
        return _BYTES_PER_LOGIT * max(RETENTION_CHUNK_ELEMENTS, head)
    elements = _microbatch(config) * dims.vocab_size
    return size * (elements if elements <= MAX_SAVED_ELEMENTS else CHUNK_ELEMENTS["cuda"])


def _microbatch(config: RunConfig) -> float:
    """Tokens of the largest microbatch: a row is never split."""
    longest = LONGEST_PROMPT_TOKENS + config.rollout.max_new_tokens
    return float(max(config.trainer.microbatch_tokens, longest))


def _activations(config: RunConfig, dims: ModelDims, size: int) -> float:
    """Bytes that a microbatch saves for its backward pass.

    A layer saves its two norms' inputs and outputs, queries, keys, values, attention's output twice, gate and
    up, and their product.
    """
    tokens = _microbatch(config)
    attention = (3 * dims.num_heads + 2 * dims.num_kv_heads) * dims.head_dim
    layer = 4 * dims.hidden_size + attention + 3 * dims.intermediate_size
    backward = 2 * dims.hidden_size + attention + 4 * dims.intermediate_size  # of the layer at work
    if config.trainer.gradient_checkpointing:
        return tokens * size * (dims.num_layers * dims.hidden_size + layer + backward)
    return tokens * size * (dims.num_layers * layer + backward)
