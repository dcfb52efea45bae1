"""Read GGUF files: header, dimensions, and weights in the hub's layout.

The header is read here, in a tenth of a second; the package gguf, which the weights need, takes eight.
Imports nothing heavy at the top.
"""

from __future__ import annotations

import mmap
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.model.dims import ModelDims, dims_from_config
from harness.model.files.folder import with_content
from harness.records.progress import quiet

# GGUF value types: struct code of the numbers; 8 is a string, 9 an array.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class _Cursor:
    """A place in a mapped file. Going past its end is an EOFError, so no length in it is believed."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def skip(self, size: int) -> int:
        """Go on by `size` bytes; returns where they begin."""
        if size > len(self.data) - self.at:
            raise EOFError
        self.at += size
        return self.at - size

    def number(self, code: str) -> Any:
        return struct.unpack_from("<" + code, self.data, self.skip(struct.calcsize("<" + code)))[0]

    def text(self) -> str:
        start = self.skip(self.number("Q"))
        return self.data[start : self.at].decode("utf-8", errors="replace")

    def value(self) -> Any:
        """A text or a number; of an array, a range as long."""
        kind = self.number("I")
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_NUMBERS[kind])
        inner, length = self.number("I"), self.number("Q")
        if inner == _STRING:
            for _ in range(length):
                self.skip(self.number("Q"))
        else:
            self.skip(length * struct.calcsize("<" + _NUMBERS[inner]))
        return range(length)

    def tensor(self) -> tuple[str, int]:
        """A tensor's name and how far behind the header its numbers begin."""
        name = self.text()
        self.skip(8 * self.number("I") + 4)  # its sizes and type
        return name, self.number("Q")


def header(path: Path) -> tuple[dict[str, Any], frozenset[str]]:
    """Metadata (of an array, a range as long) and tensor names. Raises ValueError for another file."""
    status = with_content(path).stat()
    return _header(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _header(path: Path, size: int, changed: int) -> tuple[dict[str, Any], frozenset[str]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data)
        if data[:4] != b"GGUF":
            raise ValueError("not a GGUF file")
        try:
            cursor.skip(4)
            version, num_tensors, num_values = (cursor.number(code) for code in "IQQ")
            if version not in (2, 3):
                raise ValueError(f"GGUF version {version}; only 2 and 3 are supported")
            metadata = {cursor.text(): cursor.value() for _ in range(num_values)}
            tensors = dict(cursor.tensor() for _ in range(num_tensors))
        except (EOFError, KeyError, OverflowError):
            raise ValueError("its header is cut short or damaged; download it again") from None
        if cursor.at + max(tensors.values(), default=0) >= size:
            raise ValueError("its weights are cut short; download it again")
        return metadata, frozenset(tensors)


def gguf_dims(path: Path) -> ModelDims:
    """Dimensions from the header. Raises ValueError for a model that is not supported."""
    metadata, tensors = header(path)
    architecture = metadata.get("general.architecture")

    def read(name: str, default: Any = None) -> Any:
        return metadata.get(f"{architecture}.{name}", default)

    scaling = read("rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in tensors:
        raise ValueError("its rotary scaling is not read from GGUF; use the model's hub folder")
    tokens = metadata.get("tokenizer.ggml.tokens")
    return dims_from_config(
        {
            "model_type": architecture,
            "hidden_size": read("embedding_length"),
            "intermediate_size": read("feed_forward_length"),
            "num_hidden_layers": read("block_count"),
            "num_attention_heads": read("attention.head_count"),
            "num_key_value_heads": read("attention.head_count_kv"),
            "head_dim": read("attention.key_length"),
            "vocab_size": len(tokens) if isinstance(tokens, range) else tokens,
            "max_position_embeddings": read("context_length"),
            "rope_theta": read("rope.freq_base", 10000.0),
            "rms_norm_eps": read("attention.layer_norm_rms_epsilon", 1e-5),
            "tie_word_embeddings": "output.weight" not in tensors,
        }
    )


def has_chat_template(path: Path) -> bool:
    return "tokenizer.chat_template" in header(path)[0]


def chat_template_of(path: Path) -> str | None:
    """The file's chat template, if it has one."""
    found = header(path)[0].get("tokenizer.chat_template")
    return None if found is None else str(found)


def dequantise(path: Path, target: Path) -> None:
    """Write weights in bfloat16, configuration and tokenizer to `target` in the hub's layout.

    Raises ValueError for a file whose tensors or tokenizer cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        with quiet("transformers"):  # it draws a bar for each tensor
            model = AutoModelForCausalLM.from_pretrained(
                **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
            )
            model.save_pretrained(target)
            AutoTokenizer.from_pretrained(**where).save_pretrained(target)
    except Exception as error:  # a damaged file fails anywhere in there
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"{path} cannot be converted ({said}); download it again") from error
