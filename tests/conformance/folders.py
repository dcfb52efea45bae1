"""Tiny model folders written by transformers, as the hub has them: weights of random numbers, any storage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

Edit = Callable[[dict[str, torch.Tensor]], object]
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 61,
    "max_position_embeddings": 128,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def write_model(
    folder: Path, model_type: str, *, dtype: torch.dtype = torch.float32, shard: str = "1GB", **config: Any
) -> Path:
    """Save a model with noisy weights, norms and biases included, so that each of them matters."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SMALL | config))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    return folder


def edit_weights(folder: Path, edit: Edit) -> Path:
    """Change the tensors of a folder's only weight file in place."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def edit_config(folder: Path, **values: Any) -> Path:
    """Set keys of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder
