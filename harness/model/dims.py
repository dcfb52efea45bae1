"""The shape of a decoder-only transformer, and what follows from it alone. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Architecture = Literal["llama", "qwen2", "qwen3"]


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama 3.1's rotary scaling: long wavelengths are slowed by `factor`, short ones kept."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True)
class ModelDims:
    """Everything about a model but its weights; field names are the hub's `config.json`, shortened.

    `architecture` says which weights exist: "llama" has no bias, "qwen2" has q/k/v biases, "qwen3" normalises
    each head's queries and keys. Raises ValueError where the fields contradict each other.
    """

    architecture: Architecture
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        if self.architecture not in get_args(Architecture):
            raise ValueError(f"architecture is {self.architecture!r}; use one of {get_args(Architecture)}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads is {self.num_heads}; use a multiple of num_kv_heads {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim is {self.head_dim}; rotary embeddings need an even number")
        if self.architecture != "qwen3" and self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads is {self.num_heads}; llama and qwen2 need a divisor of hidden_size")
        if self.architecture == "qwen2" and self.head_dim * self.num_heads != self.hidden_size:
            raise ValueError(f"head_dim is {self.head_dim}; qwen2 needs hidden_size / num_heads")


def _matmul_parameters(dims: ModelDims) -> int:
    """Weights that multiply activations in the layers; norms, biases, embeddings and the head excluded."""
    attention = dims.hidden_size * dims.head_dim * (2 * dims.num_heads + 2 * dims.num_kv_heads)
    return dims.num_layers * (attention + 3 * dims.hidden_size * dims.intermediate_size)


def num_non_embedding_parameters(dims: ModelDims) -> int:
    """All parameters but the token embedding and the output head; norms and biases included."""
    per_layer = 2 * dims.hidden_size
    if dims.architecture == "qwen2":
        per_layer += dims.head_dim * (dims.num_heads + 2 * dims.num_kv_heads)
    if dims.architecture == "qwen3":
        per_layer += 2 * dims.head_dim
    return _matmul_parameters(dims) + dims.num_layers * per_layer + dims.hidden_size


def num_parameters(dims: ModelDims) -> int:
    """All parameters; a tied head is counted once."""
    embeddings = dims.vocab_size * dims.hidden_size * (1 if dims.tie_word_embeddings else 2)
    return num_non_embedding_parameters(dims) + embeddings


def flops_per_token(dims: ModelDims, context: int) -> float:
    """FLOPs to train on one token of a sequence of `context` tokens, forward and backward.

    6 (P + D V) + 6 L H Dh context: P the layers' matmul weights and D V the head's, each used once forward
    (2 FLOPs a weight) and twice backward; attention's scores and values cost 4 H Dh FLOPs a key forward, 12
    with backward, and a causal token sees context / 2 keys on average. The forward pass is a third of it.
    """
    return 3 * forward_flops(dims, tokens=1, predicted=1, pairs=context / 2)


def forward_flops(dims: ModelDims, *, tokens: float, predicted: float, pairs: float) -> float:
    """FLOPs of a forward pass; forward and backward cost three of it.

    2 a matmul weight, of the layers for each of `tokens`, of the head for each `predicted` one, and in each
    layer 4 H Dh for each of the `pairs` of a query and a key that it sees.
    """
    head = dims.hidden_size * dims.vocab_size
    attention = 4.0 * dims.num_layers * dims.num_heads * dims.head_dim
    return 2.0 * (_matmul_parameters(dims) * tokens + head * predicted) + attention * pairs


def dims_from_config(config: dict[str, Any]) -> ModelDims:
    """Dimensions from a hub config.json, of transformers 4 or 5; ValueError for what the model lacks."""
    architecture: Any = config.get("model_type")
    if architecture not in get_args(Architecture):
        raise ValueError(f"model_type is {architecture!r}; supported are {', '.join(get_args(Architecture))}")
    for name, only in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if config.get(name, only) != only:
            raise ValueError(f"{name} is {config[name]!r}; only {only!r} is supported")
    if config.get("use_sliding_window"):
        raise ValueError("use_sliding_window is true; only full attention is supported")
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    heads = config["num_attention_heads"]
    return ModelDims(
        architecture=architecture,
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocab_size=config["vocab_size"],
        max_position_embeddings=config["max_position_embeddings"],
        rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        rms_norm_eps=config["rms_norm_eps"],
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        rope_scaling=_rope_scaling(rope),
    )


def _rope_scaling(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"rope_type is {kind!r}; use a model with 'default' or 'llama3'")
    return RopeScaling(
        factor=float(rope["factor"]),
        low_freq_factor=float(rope["low_freq_factor"]),
        high_freq_factor=float(rope["high_freq_factor"]),
        original_max_position_embeddings=int(rope["original_max_position_embeddings"]),
    )
