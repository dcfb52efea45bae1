"""Headers and configurations with random damage: read, or refused in one line, in time and little memory."""

from __future__ import annotations

import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.model.files.folder import folder_dims
from harness.model.files.gguf import gguf_dims, has_chat_template
from tests.unit.harness.tiny import untrained_base

SIZES = (0, 1, 2**31, 2**32 - 1, 10**12, 2**63, 2**64 - 1)
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 1e400, float("nan"), 10**12, 2**63, "", "8", "x" * 999, [], [1], {}, {"a": []}),
)
LAYERS = {"embedding_length": 8, "feed_forward_length": 16, "block_count": 1, "context_length": 64}
HEADS = {"attention.head_count": 2, "attention.head_count_kv": 1}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(sizes: dict[str, Any] | None = None) -> bytes:
    """A whole GGUF file: strings, numbers, arrays of both, and one tensor of 32 bytes."""
    values = [
        (f"llama.{k}", struct.pack("<II", 4, v))
        for k, v in ({**LAYERS, **HEADS} if sizes is None else sizes).items()
    ]
    values += [("general.architecture", struct.pack("<I", 8) + text("llama"))]
    values += [("tokenizer.chat_template", struct.pack("<I", 8) + text("{{ messages }}"))]
    values += [("llama.rope.freq_base", struct.pack("<If", 6, 10000.0))]
    tokens = struct.pack("<IIQ", 9, 8, 3) + text("a") + text("b") + text("c")
    values += [("tokenizer.ggml.tokens", tokens), ("scores", struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3))]
    tensor = text("token_embd.weight") + struct.pack("<I2QIQ", 2, 4, 2, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(values)) + b"".join(text(k) + v for k, v in values)
    return head + tensor + bytes(64)


def damaged(rng: random.Random, data: bytes, end: int) -> bytes:
    """Cut, or change bytes and eight-byte lengths before `end`."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(min(end, len(found) or 1)), rng.randrange(4)
        if kind == 0:
            found[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            found[at : at + 8] = struct.pack("<Q", rng.choice(SIZES))
        elif kind == 2:
            found[at : at + 4] = struct.pack("<I", rng.choice(SIZES) % 2**32)
        else:
            del found[at : at + rng.randint(1, 40)]
    return bytes(found[: rng.randrange(len(found))] if rng.random() < 0.1 and found else found)


def read_or_refused(read: Callable[[], object]) -> bool:
    """Whether it was read. Fails for anything but a one-line ValueError, a second, or 32 MiB."""
    started = time.thread_time()
    tracemalloc.start()
    try:
        read()
    except ValueError as error:
        assert type(error) is ValueError and "\n" not in str(error) and len(str(error)) < 600
        return False
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.thread_time() - started < 1 and most < 32 * 2**20
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return untrained_base(tmp_path) / "model"


def test_a_whole_gguf_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf())
    dims = gguf_dims(path)
    assert (dims.hidden_size, dims.num_heads, dims.num_kv_heads, dims.head_dim, dims.vocab_size) == (
        8,
        2,
        1,
        4,
        3,
    )
    assert dims.tie_word_embeddings and has_chat_template(path)


def test_damaged_gguf_headers(tmp_path: Path) -> None:
    rng, whole = random.Random(0), gguf()
    read = 0
    for i in range(1500):
        path = tmp_path / f"{i}.gguf"  # a name of its own: headers are remembered by file
        path.write_bytes(damaged(rng, whole, len(whole) - 64))
        read += read_or_refused(lambda path=path: gguf_dims(path))
        path.unlink()
    assert 0 < read < 500


@pytest.mark.parametrize("length", [0, 3, 4, 5, 8, 12, 23, 24, 60])
def test_a_gguf_file_of_few_bytes(tmp_path: Path, length: int) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf()[:length])
    assert not read_or_refused(lambda: gguf_dims(tmp_path / "m.gguf"))


@pytest.mark.parametrize("length", [10**12, 2**63, 2**64 - 1])
def test_a_gguf_key_longer_than_its_file(tmp_path: Path, length: int) -> None:
    whole = gguf()
    (tmp_path / "m.gguf").write_bytes(whole[:24] + struct.pack("<Q", length) + whole[32:])
    with pytest.raises(ValueError, match="cut short or damaged"):
        gguf_dims(tmp_path / "m.gguf")


@pytest.mark.parametrize("name", [*LAYERS, *HEADS])
@pytest.mark.parametrize("value", [0, None])
def test_a_gguf_size_that_is_missing_or_zero(tmp_path: Path, name: str, value: int | None) -> None:
    sizes = {k: v for k, v in {**LAYERS, **HEADS, name: value}.items() if v is not None}
    (tmp_path / "m.gguf").write_bytes(gguf(sizes))
    read = read_or_refused(lambda: gguf_dims(tmp_path / "m.gguf"))
    assert read == (name == "attention.head_count_kv" and value is None)  # then it is as many as heads


def test_a_gguf_file_whose_weights_are_cut_off(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf()[:-64])
    with pytest.raises(ValueError, match="weights are cut short"):
        gguf_dims(tmp_path / "m.gguf")


def test_damaged_safetensors_headers(folder: Path) -> None:
    rng, path = random.Random(1), folder / "model.safetensors"
    whole = path.read_bytes()
    end, read = 8 + int.from_bytes(whole[:8], "little"), 0
    assert read_or_refused(lambda: folder_dims(folder))
    for _ in range(600):
        path.write_bytes(damaged(rng, whole, end))
        read += read_or_refused(lambda: folder_dims(folder))
    assert read < 60  # a space that became a space, no more


def test_safetensors_headers_with_odd_values(folder: Path) -> None:
    rng, path = random.Random(2), folder / "model.safetensors"
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(600):
        header = json.loads(whole[8:end])
        name = rng.choice([name for name in header if name != "__metadata__"])
        field = rng.choice(["dtype", "shape", "data_offsets", ""])
        value = rng.choice([*ODD, "I8", "U8", [-1, -1], [0, 2**63], [0, 10**12], [10**12, 10**12]])
        if field:
            header[name][field] = value
        else:
            header[name] = value
        made = json.dumps(header).encode()
        path.write_bytes(len(made).to_bytes(8, "little") + made + whole[end:])
        assert not read_or_refused(lambda: folder_dims(folder)), (field, value)


def test_damaged_configurations(folder: Path) -> None:
    rng, path = random.Random(3), folder / "config.json"
    whole = json.loads(path.read_text())
    for _ in range(1500):
        config = dict(whole)
        for name in rng.sample(sorted(whole), rng.randint(1, 3)):
            config[name] = rng.choice(ODD)
            if rng.random() < 0.2:
                del config[name]
        path.write_text(json.dumps(config))
        read_or_refused(lambda: folder_dims(folder))
    plain = json.dumps(whole).encode()
    for _ in range(600):
        path.write_bytes(damaged(rng, plain, len(plain)))
        read_or_refused(lambda: folder_dims(folder))
