"""Dimensions of the small models that tests build."""

from __future__ import annotations

from typing import Any

from harness.model.dims import ModelDims


def model_dims(**changes: Any) -> ModelDims:
    """Make a one-layer llama of width 8; `changes` are fields of `ModelDims` to set otherwise."""
    small: dict[str, Any] = {
        "architecture": "llama",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_layers": 1,
        "num_heads": 1,
        "num_kv_heads": 1,
        "head_dim": 8,
        "vocab_size": 11,
        "max_position_embeddings": 16,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    return ModelDims(**{**small, **changes})
