"""Read GGUF files: header, dimensions, and weights in the hub's layout.

The header is read here, in a tenth of a second; the package gguf, which the weights need, takes eight.
Imports nothing heavy at the top.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from harness.model.dims import ModelDims, dims_from_config
from harness.records.progress import quiet

# GGUF value types: struct code of the numbers; 8 is a string, 9 an array.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@lru_cache(maxsize=8)
def header(path: Path) -> tuple[dict[str, Any], frozenset[str]]:
    """Metadata (of an array, its length alone) and tensor names. Raises ValueError for another file."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError("not a GGUF file")
        version, num_tensors, num_values = struct.unpack("<IQQ", file.read(20))
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version}; only 2 and 3 are supported")
        try:
            metadata = {_string(file): _value(file) for _ in range(num_values)}
            return metadata, frozenset(_tensor_names(file, num_tensors))
        except (struct.error, KeyError, UnicodeDecodeError):
            raise ValueError("its header is cut short or damaged") from None


def _number(file: BinaryIO, code: str) -> Any:
    return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_number(file, "Q")).decode("utf-8", errors="replace")


def _value(file: BinaryIO) -> Any:
    kind = _number(file, "I")
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _number(file, _NUMBERS[kind])
    inner, length = struct.unpack("<IQ", file.read(12))
    if inner == _STRING:
        for _ in range(length):
            file.seek(_number(file, "Q"), io.SEEK_CUR)
    else:
        file.seek(length * struct.calcsize("<" + _NUMBERS[inner]), io.SEEK_CUR)
    return length


def _tensor_names(file: BinaryIO, count: int) -> Iterator[str]:
    for _ in range(count):
        yield _string(file)
        file.seek(8 * _number(file, "I") + 12, io.SEEK_CUR)  # its sizes, type and place


def gguf_dims(path: Path) -> ModelDims:
    """Dimensions from the header. Raises ValueError for a model that is not supported."""
    metadata, tensors = header(path)
    architecture = metadata.get("general.architecture")

    def read(name: str, default: Any = None) -> Any:
        return metadata.get(f"{architecture}.{name}", default)

    scaling = read("rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in tensors:
        raise ValueError("its rotary scaling is not read from GGUF; use the model's hub folder")
    heads, width = read("attention.head_count", 1), read("embedding_length", 1)
    return dims_from_config(
        {
            "model_type": architecture,
            "hidden_size": width,
            "intermediate_size": read("feed_forward_length"),
            "num_hidden_layers": read("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": read("attention.head_count_kv", heads),
            "head_dim": read("attention.key_length") or width // heads,
            "vocab_size": metadata.get("tokenizer.ggml.tokens"),
            "max_position_embeddings": read("context_length"),
            "rope_theta": read("rope.freq_base", 10000.0),
            "rms_norm_eps": read("attention.layer_norm_rms_epsilon", 1e-5),
            "tie_word_embeddings": "output.weight" not in tensors,
        }
    )


def has_chat_template(path: Path) -> bool:
    return "tokenizer.chat_template" in header(path)[0]


def dequantise(path: Path, target: Path) -> None:
    """Write weights in bfloat16, configuration and tokenizer to `target` in the hub's layout."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with quiet("transformers"):  # it draws a bar for each tensor
        where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        model = AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(**where).save_pretrained(target)
