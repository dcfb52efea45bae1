"""The shape of a decoder-only transformer, and what follows from it alone. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from reprlib import repr as short
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


def weight_shapes(dims: ModelDims) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by its name on the hub; a tied head is none of its own."""
    width, inner = dims.hidden_size, dims.intermediate_size
    query, key = dims.num_heads * dims.head_dim, dims.num_kv_heads * dims.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (query, width),
        "self_attn.k_proj.weight": (key, width),
        "self_attn.v_proj.weight": (key, width),
        "self_attn.o_proj.weight": (width, query),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
    }
    if dims.architecture == "qwen2":
        biases = {"q": query, "k": key, "v": key}
        layer |= {f"self_attn.{name}_proj.bias": (size,) for name, size in biases.items()}
    if dims.architecture == "qwen3":
        layer |= {f"self_attn.{name}_norm.weight": (dims.head_dim,) for name in "qk"}
    layers = range(dims.num_layers)
    shapes = {f"model.layers.{i}.{name}": size for i in layers for name, size in layer.items()}
    shapes |= {"model.embed_tokens.weight": (dims.vocab_size, width), "model.norm.weight": (width,)}
    return shapes if dims.tie_word_embeddings else {**shapes, "lm_head.weight": (dims.vocab_size, width)}


def num_non_embedding_parameters(dims: ModelDims) -> int:
    """All parameters but the token embedding and the output head; norms and biases included."""
    return num_parameters(dims) - (1 if dims.tie_word_embeddings else 2) * dims.vocab_size * dims.hidden_size


def kernels_take(head_dim: int) -> bool:
    """Whether the GPU sampler's kernels take heads of this size: powers of two from 16."""
    return head_dim >= 16 and head_dim & (head_dim - 1) == 0


def num_parameters(dims: ModelDims) -> int:
    """All parameters; a tied head is counted once."""
    return sum(math.prod(shape) for shape in weight_shapes(dims).values())


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


_LARGEST = 2**31 - 1
_MOST_LAYERS = 1000  # of the largest models there are, an eighth


def dims_from_config(config: dict[str, Any]) -> ModelDims:
    """Dimensions from a hub config.json, of transformers 4 or 5.

    Raises ValueError for a value that is missing, impossible, or that the model does not support.
    """
    architecture: Any = config.get("model_type")
    if architecture not in get_args(Architecture):
        raise ValueError(
            f"model_type is {short(architecture)}; supported are {', '.join(get_args(Architecture))}"
        )
    for name, only in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if config.get(name, only) != only:
            raise ValueError(f"{name} is {short(config[name])}; only {only!r} is supported")
    if config.get("use_sliding_window"):
        raise ValueError("use_sliding_window is true; only full attention is supported")
    for name in ("quantization_config", "compression_config"):
        if config.get(name):
            raise ValueError(
                f"{name} is set; quantised weights are not supported, use the model they came from"
            )
    rope = {**_section(config, "rope_scaling"), **_section(config, "rope_parameters")}
    width, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    tied = config.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        raise ValueError(f"tie_word_embeddings is {short(tied)}; it must be true or false")
    return ModelDims(
        architecture=architecture,
        hidden_size=width,
        intermediate_size=_size(config, "intermediate_size"),
        num_layers=_size(config, "num_hidden_layers", most=_MOST_LAYERS),
        num_heads=heads,
        num_kv_heads=_size(config, "num_key_value_heads", heads),
        head_dim=_size(config, "head_dim", width // heads),
        vocab_size=_size(config, "vocab_size"),
        max_position_embeddings=_size(config, "max_position_embeddings"),
        rope_theta=_positive(rope if rope.get("rope_theta") is not None else config, "rope_theta", 10000.0),
        rms_norm_eps=_positive(config, "rms_norm_eps"),
        tie_word_embeddings=tied,
        rope_scaling=_rope_scaling(rope),
    )


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is {short(found)}; it must be null or an object")
    return found


def _size(config: dict[str, Any], name: str, default: int | None = None, *, most: int = _LARGEST) -> int:
    """A count from 1 to `most`; `default` where it is null or missing."""
    value = default if config.get(name) is None else config[name]
    if value is None:
        raise ValueError(f"it has no {name}; use a whole one")
    if type(value) is not int or not 0 < value <= most:
        raise ValueError(f"{name} is {short(value)}; it must be a whole number from 1 to {most}")
    return value


def _positive(config: dict[str, Any], name: str, default: float | None = None) -> float:
    """A finite number above 0; `default` where it is null or missing."""
    value = default if config.get(name) is None else config[name]
    if value is None:
        raise ValueError(f"it has no {name}; use a whole one")
    if type(value) not in (int, float) or not 0 < value < 1e30:
        raise ValueError(f"{name} is {short(value)}; it must be a number above 0")
    return float(value)


def _rope_scaling(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default" and kind != "llama3":
        raise ValueError(f"rope_type is {short(kind)}; use a model with 'default' or 'llama3'")
    if rope.get("partial_rotary_factor", 1) != 1:
        raise ValueError(
            f"partial_rotary_factor is {short(rope['partial_rotary_factor'])}; only 1 is supported"
        )
    if kind == "default":
        return None
    low, high = _positive(rope, "low_freq_factor"), _positive(rope, "high_freq_factor")
    if low >= high:
        raise ValueError(f"low_freq_factor is {low:g}; it must be below high_freq_factor {high:g}")
    return RopeScaling(
        factor=_positive(rope, "factor"),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_position_embeddings=_size(rope, "original_max_position_embeddings"),
    )
