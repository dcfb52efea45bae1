"""Model folders in the hub's layout: config.json and safetensors, as transformers and vLLM read them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.model.dims import ModelDims
from harness.model.files.folder import HEAD, folder_dims, parameters, weight_files, with_content
from harness.model.lora import hub_state
from harness.model.policy import Policy
from harness.records.published import checked, reading

_CLASS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_DTYPE_NAME = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def config_from_dims(
    dims: ModelDims, *, dtype: torch.dtype, eos_token_ids: Sequence[int] = ()
) -> dict[str, Any]:
    """The hub's config.json of a model with these dimensions."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": dims.rope_theta}
    if dims.rope_scaling is not None:
        rope |= {"rope_type": "llama3", **asdict(dims.rope_scaling)}
    config: dict[str, Any] = {
        "architectures": [_CLASS[dims.architecture]],
        "model_type": dims.architecture,
        "hidden_size": dims.hidden_size,
        "intermediate_size": dims.intermediate_size,
        "num_hidden_layers": dims.num_layers,
        "num_attention_heads": dims.num_heads,
        "num_key_value_heads": dims.num_kv_heads,
        "head_dim": dims.head_dim,
        "vocab_size": dims.vocab_size,
        "max_position_embeddings": dims.max_position_embeddings,
        "rope_theta": dims.rope_theta,
        "rope_parameters": rope,
        "rms_norm_eps": dims.rms_norm_eps,
        "tie_word_embeddings": dims.tie_word_embeddings,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": list(eos_token_ids) or None,
        "pad_token_id": None,
        "use_cache": True,
        "dtype": _DTYPE_NAME[dtype],
    }
    if dims.architecture == "llama":
        config |= {"attention_bias": False, "mlp_bias": False}
    return config


def save_pretrained(
    policy: Policy,
    folder: Path | str,
    *,
    eos_token_ids: Sequence[int] = (),
    bos_token_id: int | None = None,
) -> None:
    """Write `config.json` and `model.safetensors`; tied weights are stored once, adapters merged."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = config_from_dims(policy.dims, dtype=policy.head_weight.dtype, eos_token_ids=eos_token_ids)
    config["bos_token_id"] = bos_token_id
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in hub_state(policy).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@checked
def read_weights(folder: Path | str) -> dict[str, Tensor]:
    """All parameters of a folder's `model.safetensors`, or of the shards its index names, on the CPU.

    Raises ValueError, which names the file, for one that is missing, damaged, or holds NaN or infinity.
    """
    weights: dict[str, Tensor] = {}
    for path in weight_files(Path(folder)):
        try:
            found = load_file(with_content(path))
        except SafetensorError as error:
            raise ValueError(f"{path} is no whole safetensors file ({error}); download it again") from None
        for name in parameters(found):
            if not _finite(found[name]):
                raise ValueError(f"{path}: {name} holds NaN or infinity; use an undamaged copy of the model")
            weights[name] = found[name]
    return weights


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite. Their sum says so in a third of the time, unless it overflows."""
    return math.isfinite(tensor.sum(dtype=torch.float32)) or bool(tensor.isfinite().all())


@checked
def load_pretrained(folder: Path | str, *, dtype: torch.dtype, device: torch.device | str) -> Policy:
    """A policy from a hub folder. Raises ValueError for an unsupported model or weights that do not fit."""
    folder = Path(folder)
    policy = Policy(folder_dims(folder), dtype=dtype, device=device)
    load_weights(policy, read_weights(folder))
    return policy


def load_weights(policy: Policy, weights: dict[str, Tensor]) -> None:
    """Copy a whole state dict (hub names) into the policy in place; ValueError if names or shapes differ.

    A head that equals the embedding may stand beside it in tied weights (`folder_dims` has compared them).
    """
    if policy.dims.tie_word_embeddings:
        weights = {name: tensor for name, tensor in weights.items() if name != HEAD}
    try:
        policy.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"weights do not fit {policy.dims.architecture}: {' '.join(str(error).split())}"
        ) from error


# What makes up a tokenizer in a hub folder, with how it ends a text.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a model folder's tokenizer files, unchanged, beside other weights. Raises Damaged without one."""
    with reading(source):
        shutil.copyfile(source / TOKENIZER_FILES[0], target / TOKENIZER_FILES[0])
        for name in TOKENIZER_FILES[1:]:
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)
