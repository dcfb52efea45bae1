"""The schema of a run's model: a from-scratch ladder model and how it is pretrained. Imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from harness.section import Name, NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section


class DimsConfig(Section):
    """Shape of a from-scratch model, in the hub's terms; the vocabulary comes from the tokenizer."""

    architecture: Literal["llama", "qwen2", "qwen3"]
    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    num_kv_heads: Positive
    head_dim: Positive
    max_position_embeddings: Positive
    rope_theta: PositiveFloat
    rms_norm_eps: PositiveFloat
    tie_word_embeddings: bool

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}; use a divisor"
            )
        return self


class PretrainConfig(Section):
    """How a base is made: `steps` of `batch_size` documents (fixed steps, never seconds)."""

    steps: Positive
    batch_size: Positive
    lr: PositiveFloat
    warmup_steps: NonNegative
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat


class ModelConfig(Section):
    name: Name
    source: Literal["ladder"]
    dims: DimsConfig
    pretrain: PretrainConfig
