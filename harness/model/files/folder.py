"""Read a model folder in the hub's layout, all but its weights: settings, files, tensors' names, dimensions.

Errors are ValueErrors of one line: the file, what is wrong with it, a remedy. Imports no torch at the top.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from reprlib import repr as short
from typing import Any

from harness.model.dims import ModelDims, dims_from_config, weight_shapes

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # an element of what weights may be stored as
_MOST_HEADER = 100_000_000  # bytes; the format's own limit
_LFS = b"version https://git-lfs"
_AGAIN = "download it again"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as a file's header announces it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def ordinary(path: Path) -> Path:
    """Return the path of a file that can be read to its end; a FIFO or a device could not."""
    if not path.exists():
        raise ValueError(f"{path.parent} holds no {path.name}; give a whole model folder in the hub's layout")
    if not path.is_file():
        raise ValueError(f"{path} is a folder, a FIFO or a device; put the file itself there")
    return path


def with_content(path: Path) -> Path:
    """Return the path of an ordinary file that is neither empty nor a pointer of Git LFS."""
    with ordinary(path).open("rb") as file:
        start = file.read(len(_LFS))
    if not start:
        raise ValueError(f"{path} is empty; {_AGAIN}")
    if start == _LFS:
        raise ValueError(f"{path} is a Git LFS pointer, not the file; run git lfs pull there")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds."""
    text = with_content(path).read_bytes()
    try:
        found = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); {_AGAIN}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__} where settings are wanted; {_AGAIN}")
    return found


def read_settings(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds, {} where there is none."""
    return read_json(path) if path.exists() else {}


def chat_template(folder: Path) -> str | None:
    """A model folder's chat template: its file's, or its tokenizer configuration's (named default)."""
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return ordinary(path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text; {_AGAIN}") from None
    path = folder / "tokenizer_config.json"
    found = read_settings(path).get("chat_template")
    try:
        named = {each["name"]: each["template"] for each in found} if isinstance(found, list) else {}
    except (TypeError, KeyError):
        raise ValueError(
            f"{path}: a chat_template in its list lacks a name or a template; add them"
        ) from None
    template = named.get("default") if isinstance(found, list) else found
    if not isinstance(template, str | None):
        raise ValueError(f"{path}: chat_template is a {type(template).__name__}; give a text")
    return template


def special_tokens(folder: Path, *, legacy: bool = True) -> dict[str, str]:
    """Special tokens by name (`bos_token`), each a string or the hub's record of an added token.

    `legacy`: read special_tokens_map.json too, whose word counts in folders from before transformers 4.34.
    """
    found = read_settings(folder / "tokenizer_config.json")
    if legacy and "added_tokens_decoder" not in found:
        found = found | read_settings(folder / "special_tokens_map.json")
    texts = {k: v.get("content") if isinstance(v, dict) else v for k, v in found.items()}
    return {
        name: token for name, token in texts.items() if name.endswith("_token") and isinstance(token, str)
    }


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder's weights: `model.safetensors`, or the shards that its index names, in order."""
    single, index = (folder / name for name in WEIGHTS)
    if single.exists() or not index.exists():
        return [single]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) and name for name in names.values()):
        raise ValueError(f"{index}: weight_map is no table of tensors and files; {_AGAIN}")
    if not names or any(Path(name).is_absolute() or ".." in Path(name).parts for name in names.values()):
        raise ValueError(f"{index}: weight_map names files outside the folder, or none; {_AGAIN}")
    return [folder / name for name in sorted(set(names.values()))]


def identifying_files(folder: Path, names: Collection[str]) -> dict[str, Path]:
    """Files that make a model what it is, by their path in the folder, sorted.

    They are those in `names`, all safetensors at the top and the shards in sub-folders. The index counts
    where it leaves one of them out: elsewhere it says nothing that they do not say.
    """
    top = [p for p in folder.iterdir() if p.name in names or p.suffix == ".safetensors"]
    used, index = weight_files(folder), folder / WEIGHTS[1]
    unused = {p.name for p in top if p.suffix == ".safetensors"} - {
        p.name for p in used if p.parent == folder
    }
    chosen = [index] if unused and used != [folder / WEIGHTS[0]] else []
    found = {p.relative_to(folder).as_posix(): p for p in {*top, *used, *chosen} if p.exists()}
    return {name: ordinary(found[name]) for name in sorted(found)}


def stored(folder: Path) -> dict[str, Stored]:
    """Every parameter that the headers of a folder's weights announce, by name."""
    found: dict[str, Stored] = {}
    for path in weight_files(folder):
        found |= _header(path)
    return {name: found[name] for name in parameters(found)}


def parameters(names: Iterable[str]) -> list[str]:
    """Drop rotary frequencies, which old checkpoints store as buffers: they follow from the configuration."""
    return [name for name in names if not name.endswith("rotary_emb.inv_freq")]


def folder_dims(folder: Path) -> ModelDims:
    """Dimensions of a folder's model, its weights' names, shapes and types checked by their headers.

    Where the configuration ties the head to the embedding and another head is stored, the model is not tied
    (transformers' rule). Raises ValueError for a model that is not supported, or not whole.
    """
    path = folder / "config.json"
    config = read_json(path)
    try:
        dims = dims_from_config(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    found = stored(folder)
    has_head = dims.tie_word_embeddings and HEAD in found
    _check_stored(folder, found, replace(dims, tie_word_embeddings=False) if has_head else dims)
    if has_head and not _equal(
        *((name, found[name].file, _stamp(found[name].file)) for name in (EMBEDDING, HEAD))
    ):
        return replace(dims, tie_word_embeddings=False)
    return dims


def _check_stored(folder: Path, found: dict[str, Stored], dims: ModelDims) -> None:
    wanted = weight_shapes(dims)
    for name, tensor in found.items():
        if name in wanted and tensor.dtype not in _BYTES:
            raise ValueError(
                f"{tensor.file}: {name} is stored as {tensor.dtype[:9]}; quantised weights are not "
                "supported, use the model they came from"
            )
        if name in wanted and tensor.shape != wanted[name]:
            raise ValueError(
                f"{tensor.file}: {name} is {short(list(tensor.shape))} where config.json asks for "
                f"{list(wanted[name])}; use weights and a config.json of one model"
            )
    for said, names in (("lack", wanted.keys() - found.keys()), ("have also", found.keys() - wanted.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            first = " ".join(min(names).split())[:99]
            raise ValueError(
                f"{folder}: its weights {said} {first}{more}, which does not fit {dims.architecture}; "
                "use a whole model of that architecture"
            )


def _header(path: Path) -> dict[str, Stored]:
    """The tensors that a safetensors file announces; its length is checked against them."""
    size = with_content(path).stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, _MOST_HEADER):
            raise ValueError(f"{path} is cut short, or no safetensors file; {_AGAIN}")
        text = file.read(length)
    try:
        entries = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        found = {name: Stored(path, str(e["dtype"]), tuple(e["shape"])) for name, e in entries.items()}
        spans = {name: tuple(map(int, e["data_offsets"])) for name, e in entries.items()}
        sizes = {name: end - begin for name, (begin, end) in spans.items()}
        fit = all(_fits(each, sizes[name]) for name, each in found.items())
        last = max((end for _, end in spans.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise ValueError(f"{path} has a damaged header; {_AGAIN}") from None
    if not fit or 8 + length + last != size:
        raise ValueError(f"{path} is {size} bytes and its header announces {8 + length + last}; {_AGAIN}")
    return found


def _fits(tensor: Stored, size: int) -> bool:
    """Whether so many bytes hold the tensor; of an unknown type, whatever they are."""
    if not all(type(n) is int and n >= 0 for n in tensor.shape):
        raise ValueError("a size is no number")
    return size == _BYTES.get(tensor.dtype, 0) * math.prod(tensor.shape) or tensor.dtype not in _BYTES


def _stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


@lru_cache(maxsize=32)
def _equal(*tensors: tuple[str, Path, tuple[int, int]]) -> bool:
    """Whether two stored tensors (name, file, size and time of the file) hold the same numbers."""
    import torch
    from safetensors import safe_open

    values = []
    for name, path, _ in tensors:
        with safe_open(path, framework="pt") as file:
            values.append(file.get_tensor(name))
    one, other = values
    return torch.equal(one, other) if one.dtype == other.dtype else torch.equal(one.double(), other.double())
