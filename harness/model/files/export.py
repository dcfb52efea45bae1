"""Write a checkpoint as a folder that transformers, vLLM and lm-eval load as it is.

A checkpoint of a run has the hub's layout already (hub.py). What is added here is what other programs ask for
besides: the tokens that begin, end and pad a text in every file that names them, rotary scaling under both of
its names, and another precision where it is wanted. Imports no torch at the top.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from harness.model.dims import ModelDims
from harness.model.files.codec import Codec
from harness.model.files.folder import folder_dims, read_settings, special_tokens, stored, weight_files

DTYPES = ("float32", "bfloat16", "float16")
_STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}
_TEXT_INPUTS = ["input_ids", "attention_mask"]


def stored_dtype(folder: Path) -> str:
    """The precision that most tensors of a model folder are stored in."""
    names = [tensor.dtype for tensor in stored(folder).values()]
    return _STORED[max(set(names), key=names.count)]


def write_model(source: Path, target: Path, *, dtype: str | None, max_length: int | None = None) -> ModelDims:
    """Write the model in `source`, a checkpoint, to `target`, in `dtype` (None: as it is stored).

    `max_length` is what the tokenizer says of the model's positions; None leaves its own word. Raises
    ValueError for weights that `dtype` cannot hold, or a model that does not read back.
    """
    from harness.model.files.hub import copy_tokenizer

    codec, dims = Codec.from_folder(source), folder_dims(source)
    target.mkdir(parents=True, exist_ok=True)
    copy_tokenizer(source, target)
    _write_weights(source, target, dtype)
    pad = special_tokens(source).get("pad_token")
    ids = {
        "bos_token_id": codec.bos_token_id,
        "eos_token_id": list(codec.eos_token_ids),
        "pad_token_id": None if pad is None else codec.tokenizer.token_to_id(pad),
    }
    config = read_settings(source / "config.json") | ids
    config["dtype"] = dtype or config.get("dtype")
    if dims.rope_scaling is not None:  # transformers 4 reads rope_scaling alone, and would leave it out
        config["rope_scaling"] = {k: v for k, v in config["rope_parameters"].items() if k != "rope_theta"}
    _write(target / "config.json", config)
    known = {name: value for name, value in ids.items() if value is not None}
    _write(target / "generation_config.json", read_settings(target / "generation_config.json") | known)
    _complete_tokenizer(target / "tokenizer_config.json", max_length)
    if folder_dims(target) != dims or Codec.from_folder(target).eos_token_ids != codec.eos_token_ids:
        raise ValueError(f"{source}: what was written of it does not read back; please report this")
    return dims


def _complete_tokenizer(path: Path, max_length: int | None) -> None:
    """Name the inputs of a text model, where the tokenizer's class would add token types that none takes."""
    found = read_settings(path)
    if found.get("tokenizer_class") in (None, "PreTrainedTokenizerFast"):
        found.setdefault("model_input_names", _TEXT_INPUTS)
    if max_length is not None:
        found["model_max_length"] = max_length
    _write(path, found)


def _write_weights(source: Path, target: Path, dtype: str | None) -> None:
    if dtype in (None, stored_dtype(source)):
        for path in {*weight_files(source), *source.glob("model.safetensors.index.json")}:
            shutil.copyfile(path, target / path.name)
        return
    import torch
    from safetensors.torch import save_file

    from harness.model.files.hub import read_weights

    wanted = getattr(torch, str(dtype))
    weights = {name: tensor.to(wanted) for name, tensor in read_weights(source).items()}
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"--dtype {dtype}: {name} holds numbers beyond it; use bfloat16 or float32")
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
