"""Estimate a run's memory from its settings and dimensions, before anything is loaded. Imports no torch.

Peak bytes in training, part by part; on a CPU within a factor of 1.5 of what was measured
(tests/integration/test_preflight.py).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from harness.model.cache_bytes import most_cache_bytes, takes_whole_rows
from harness.model.chunks import (
    CHUNK_ELEMENTS,
    MAX_SAVED_ELEMENTS,
    MIN_CHUNK_TOKENS,
    RETENTION_CHUNK_ELEMENTS,
)
from harness.model.dims import ModelDims, num_parameters
from harness.model.files.source import shape
from harness.model.files.teacher_files import teacher_dims
from harness.schema.run_config import ConfigError, RunConfig

# Tokens of a prompt, before prompts are known: the longest decides memory, a typical one decides time.
LONGEST_PROMPT_TOKENS = 256
TYPICAL_PROMPT_TOKENS = 40  # a terse generated problem; a document of the corpus is about as long
LADDER_VOCABULARY = 1000
_GIB = 2**30
_RUNTIME = {"cpu": 0.4 * _GIB, "cuda": 0.8 * _GIB}  # PyTorch itself; CUDA's context and kernels
_BYTES_PER_LOGIT = 12.0  # float32: the logit, and what a chunk or a sampling step computes from it
_VLLM_CPU = 0.4 * _GIB  # its packages and buffers, measured with a tiny model; its cache is resident at once


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


def needs(config: RunConfig, dims: ModelDims, device: str) -> Needs:
    """Memory of a run on `device`, cpu or cuda. vLLM's share is of this machine's GPU, or of 80 GiB."""
    size, whole = (4 if config.dtype == "float32" else 2), float(num_parameters(dims))
    trained = _trained(config, dims)
    always = {"PyTorch": _RUNTIME[device], "policy": whole * size}
    always |= {"optimizer": _moments(config, dims, trained) + trained * (4 if size < 4 else 0)}
    if config.trainer.lora is None:
        always["base"] = whole * size  # the reference, and what is kept is measured against
    if config.start is not None:
        always["untrained base"] = whole * size  # what is kept is measured against it, not a stage's start
    if config.objective.kl.refresh_every is not None:
        always["another reference"] = whole * size
    teacher = teacher_dims(config.objective, config.model, vocab_size=LADDER_VOCABULARY)
    if teacher is not None:
        always["teacher"] = float(num_parameters(teacher)) * size
    value = config.objective.value
    if value is not None and not value.shared_trunk:
        always["value model"] = whole * (2 * size + 8 + (4 if size < 4 else 0))
    learned = (config.objective.reward_model, config.objective.process_reward_model)
    always |= {"reward models": 16 * whole} if any(x is not None for x in learned) else {}
    joined = _joined(dims) * size
    engine_always, sampling = _engine(config, dims, device, size)
    always |= engine_always
    if teacher is not None and "offline.sampler" in config.objective.asks_teacher:
        sampling["teacher's keys and values"] = _cache(config, teacher, size)
    training = {
        "gradients": trained * size * (2 if size < 4 else 1),
        "joined weights and gradients": joined * (2 if config.trainer.lora is None else 1),
        "activations": _activations(config, dims, size),
        "logits": _logits(config, dims, device, size) + dims.vocab_size * dims.hidden_size * 4.0,
    }
    return Needs(always, sampling, training)


def _engine(
    config: RunConfig, dims: ModelDims, device: str, size: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Bytes that the sampler holds always, and those that it holds only while it samples."""
    rollout, whole = config.rollout, float(num_parameters(dims))
    if rollout.engine == "native":
        sampling = {
            "sampler's joined weights": _joined(dims) * size,
            "logits of a sampled token": _rows(config) * dims.vocab_size * _BYTES_PER_LOGIT,
        }
        most = most_cache_bytes(config, device, gpu_total())
        cache = {"keys and values": min(most, _cache(config, dims, size))}
        return ({}, sampling | cache) if rollout.release else (cache, sampling)
    if device == "cuda":
        share = {"vLLM's share": rollout.vllm.memory * (gpu_total() or 80 * _GIB)}
        return ({}, share) if rollout.release else (share, {})
    cache_gib = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))
    size = {"auto": size, "float32": 4, "bfloat16": 2}[rollout.vllm.dtype]
    return {
        "vLLM": _VLLM_CPU,
        "vLLM's weights": whole * size,
        "vLLM's keys and values": cache_gib * _GIB,
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


def _rows(config: RunConfig) -> int:
    """Sequences that are sampled together."""
    rollout = config.rollout
    return min(rollout.max_batch_size, rollout.prompts_per_step * rollout.group_size)


def _cache(config: RunConfig, dims: ModelDims, size: int) -> float:
    tokens = LONGEST_PROMPT_TOKENS + config.rollout.max_new_tokens
    if _rows(config) < config.rollout.prompts_per_step * config.rollout.group_size:
        tokens += max(64, tokens // 2)  # rows are refilled
    return 2.0 * dims.num_layers * _rows(config) * dims.num_kv_heads * dims.head_dim * tokens * size


def _logits(config: RunConfig, dims: ModelDims, device: str, size: int) -> float:
    """Bytes of logits alive in training: a largest chunk's, or a GPU's whole microbatch's that are saved."""
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
    """Bytes that a microbatch saves for its backward pass: in each layer two norms' inputs and outputs,
    queries, keys, values, attention's output twice, gate and up, and their product."""
    tokens = _microbatch(config)
    attention = (3 * dims.num_heads + 2 * dims.num_kv_heads) * dims.head_dim
    layer = 4 * dims.hidden_size + attention + 3 * dims.intermediate_size
    backward = 2 * dims.hidden_size + attention + 4 * dims.intermediate_size  # of the layer at work
    if config.trainer.gradient_checkpointing:
        return tokens * size * (dims.num_layers * dims.hidden_size + layer + backward)
    return tokens * size * (dims.num_layers * layer + backward)


def device_of(config: RunConfig) -> str:
    """cpu or cuda, as the run will choose it, without importing PyTorch."""
    if config.device != "auto":
        return config.device
    return "cuda" if gpu_memory() is not None else "cpu"


def gpu_memory() -> int | None:
    """Free bytes of the first GPU, as its driver says when first asked; None without one."""
    return _gpu("memory.free")


def gpu_total() -> int | None:
    """All bytes of the first GPU; None without one."""
    return _gpu("memory.total")


@lru_cache(maxsize=2)
def _gpu(field: str) -> int | None:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    return int(found[0]) * 2**20 if found and found[0].isdigit() else None


def system_memory() -> int | None:
    """Bytes that a process may still have: the system's, or less where a control group says so."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free


def estimate(config: RunConfig, *, here: bool = True) -> tuple[Needs, str, int | None] | None:
    """(needs, device, free bytes there) of a run; None while its dimensions are not known.

    Not `here`: on a node with a GPU unless device=cpu, whose free bytes are not known.
    """
    dims = shape(config.model, vocab_size=LADDER_VOCABULARY)
    if dims is None:
        return None
    device = device_of(config) if here else "cpu" if config.device == "cpu" else "cuda"
    free = gpu_memory if device == "cuda" else system_memory
    return needs(config, dims, device), device, free() if here else None


def check_packages(config: RunConfig) -> None:
    """Raises ConfigError for a setting whose package is not installed."""
    if config.trainer.lora is not None and find_spec("peft") is None:
        raise ConfigError("trainer.lora: needs the package peft; pip install peft, or set trainer.lora=null")


def check_fits(config: RunConfig) -> None:
    """Raises ConfigError, with the number and the settings to change, for a run that cannot fit."""
    found = estimate(config)
    if found is None:
        return
    need, device, free = found
    if free is not None and need.total > free:
        largest = sorted(need.parts.items(), key=lambda part: -part[1])[:3]
        raise ConfigError(
            f"model={config.model.name}: a run takes about {need.total / _GIB:.1f} GiB and this {device} has "
            f"{free / _GIB:.1f} GiB free; most is {_named(dict(largest))}; {remedies(config)}"
        )


def _takes_vllm_share(config: RunConfig) -> bool:
    return config.rollout.engine != "native" and device_of(config) == "cuda"


def _takes_vllm_cache(config: RunConfig) -> bool:
    return config.rollout.engine != "native" and device_of(config) == "cpu"


# When a setting needs less, and its text; those first that change no number of the run.
_REMEDIES: tuple[tuple[Callable[[RunConfig], bool], str], ...] = (
    (lambda c: True, "lower trainer.microbatch_tokens={c.trainer.microbatch_tokens}"),
    (lambda c: not c.trainer.gradient_checkpointing, "set trainer.gradient_checkpointing=true"),
    (lambda c: not c.rollout.release, "rollout.release=true"),
    (lambda c: takes_whole_rows(c, device_of(c)), "rollout.cache=paged"),
    (lambda c: c.rollout.engine == "native", "lower rollout.max_batch_size={c.rollout.max_batch_size}"),
    (_takes_vllm_share, "lower rollout.vllm.memory={c.rollout.vllm.memory}"),
    (_takes_vllm_cache, "export VLLM_CPU_KVCACHE_SPACE= (GiB), lower"),
    (lambda c: c.trainer.optimizer == "adamw", "trainer.optimizer=adamw_8bit"),
    (lambda c: c.dtype == "float32", "dtype=bfloat16"),
    (lambda c: c.trainer.lora is None, "trainer.lora={{rank: 16, alpha: 32}}"),
    (lambda c: True, "or take a smaller model"),
)


def remedies(config: RunConfig) -> str:
    """Name the settings that need less memory."""
    return ", ".join(text.format(c=config) for applies, text in _REMEDIES if applies(config))


def describe(config: RunConfig, *, here: bool = True) -> str:
    """Describe a model's memory in one line of `--plan`."""
    found = estimate(config, here=here)
    if found is None:
        return f"{config.model.name}: memory unknown until its config.json is downloaded"
    need, device, free = found
    have = "" if free is None else f" of {free / _GIB:.1f} free"
    return (
        f"{config.model.name}: about {need.total / _GIB:.1f} GiB{have} on the {device}: {_named(need.parts)}"
    )


def _named(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value / _GIB:.2f}" for name, value in parts.items())
