"""Models of published shapes with random weights, made on the device: timings do not depend on values."""

from __future__ import annotations

from dataclasses import replace

import torch

from harness.model.dims import ModelDims
from harness.model.policy import Policy
from tests.shapes import model_dims

QWEN_0_5B = model_dims(
    architecture="qwen2",
    hidden_size=896,
    intermediate_size=4864,
    num_layers=24,
    num_heads=14,
    num_kv_heads=2,
    head_dim=64,
    vocab_size=151936,
    max_position_embeddings=32768,
    rope_theta=1e6,
    rms_norm_eps=1e-6,
)
QWEN_1_5B = replace(
    QWEN_0_5B,
    hidden_size=1536,
    intermediate_size=8960,
    num_layers=28,
    num_heads=12,
    head_dim=128,
    max_position_embeddings=131072,
)
QWEN_7B = replace(
    QWEN_1_5B,
    hidden_size=3584,
    intermediate_size=18944,
    num_heads=28,
    num_kv_heads=4,
    vocab_size=152064,
    tie_word_embeddings=False,
)
SMOLLM2_135M = model_dims(
    hidden_size=576,
    intermediate_size=1536,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    vocab_size=49152,
    max_position_embeddings=8192,
    rope_theta=1e5,
)
LADDER_L = model_dims(
    hidden_size=384,
    intermediate_size=1152,
    num_layers=6,
    num_heads=6,
    num_kv_heads=2,
    head_dim=64,
    vocab_size=700,
    max_position_embeddings=2048,
)
SHAPES = {
    "qwen2.5-0.5b": QWEN_0_5B,
    "qwen2.5-1.5b": QWEN_1_5B,
    "qwen2.5-7b": QWEN_7B,
    "smollm2-135m": SMOLLM2_135M,
    "ladder_l": LADDER_L,
}


def random_policy(dims: ModelDims, *, dtype: torch.dtype, device: str, std: float = 0.02) -> Policy:
    policy = Policy(dims, dtype=dtype, device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                parameter.normal_(0.0, std, generator=generator)
    return policy
