"""Find a pretrained model's files and read their settings, before anything heavy is imported.

A hub model's files are named by their content in the local cache and in the hub's own listing, so its
identity needs no download. Imports no torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.model.dims import ModelDims
from harness.model.files.folder import (
    folder_dims,
    identifying_files,
    ordinary,
    read_json,
    special_tokens,
    weight_files,
)
from harness.model.files.gguf import gguf_dims, has_chat_template
from harness.schema.model_config import ModelConfig
from harness.schema.prompts import CHAT
from harness.schema.run_config import ConfigError

if TYPE_CHECKING:
    from harness.model.files.codec import Codec

GGUF_VERSION = 1  # raise it when the same file is turned into other weights or another tokenizer
CONTENT = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
PATTERNS = [*CONTENT, "special_tokens_map.json", "*.safetensors", "model.safetensors.index.json"]
_planning = ContextVar("planning", default=False)
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class HubNotReached(ConfigError):
    """A hub model is not on this machine, and the hub cannot be asked about it."""


@contextmanager
def planning() -> Iterator[None]:
    """Identify presets by name inside the block if the hub cannot be reached, so that plans can be made."""
    token = _planning.set(True)
    try:
        yield
    finally:
        _planning.reset(token)


def kind_of(model: ModelConfig) -> str:
    """ladder, hub, folder or gguf: a hub model whose package is installed is a GGUF file."""
    return "gguf" if model.source == "hub" and _packaged(model.package) is not None else model.source


def gguf_file(model: ModelConfig) -> Path:
    """The file behind a model of kind gguf."""
    return _packaged(model.package) or Path(model.path or "")


def local_folder(model: ModelConfig) -> Path | None:
    """The folder of a hub or folder model where it is complete on this machine, else None."""
    if model.source == "folder":
        return Path(model.path or "")
    return _cached(model.hub_id or "", model.revision)


def check_model(model: ModelConfig, templates: Set[str] = frozenset()) -> Codec | None:
    """Raises ConfigError for a model that is not there, not supported, or without what it needs.

    Returns the tokenizer of a hub or folder model that is on this machine.
    """
    kind = kind_of(model)
    if kind == "ladder":
        return None
    if kind == "gguf":
        _check_gguf(gguf_file(model), templates)
        return None
    if (folder := local_folder(model)) is None:
        content(model)  # says what is wrong where the hub does not have it
        return None
    said = f"model.path={model.path}" if kind == "folder" else f"model.hub_id={model.hub_id}"
    return check_folder(folder, said, templates, trusted=model.trust_remote_code)


def check_folder(folder: Path, said: str, templates: Set[str] = frozenset(), *, trusted: bool) -> Codec:
    """A model folder's tokenizer, once everything but the numbers in its weights has been checked.

    Raises ConfigError, with `said` (the setting that names the folder), for files that are missing or
    damaged, a model that is not supported, and a template that cannot be rendered.
    """
    from harness.model.files.codec import Codec

    if not folder.is_dir():
        raise ConfigError(f"{said}: no such folder; give one in the hub's layout")
    _dims(folder, said, trusted)
    try:
        codec = Codec.from_folder(folder)
        for template in sorted(templates):
            codec.prompt_ids("1", template)
    except ValueError as error:
        raise ConfigError(f"{said}: {error}") from None
    return codec


def shape(model: ModelConfig, vocab_size: int | None = None) -> ModelDims | None:
    """The model's dimensions: its config.json's where that is at hand, else the preset's, else None.

    `vocab_size` is a ladder model's.
    """
    if kind_of(model) in ("hub", "folder") and (folder := local_folder(model)) is not None:
        return _dims(folder, model.path or model.hub_id or "", model.trust_remote_code)
    if model.dims is None:
        return gguf_dims(gguf_file(model)) if kind_of(model) == "gguf" else None
    size = model.dims.vocab_size or vocab_size
    if size is None:
        return None
    return ModelDims(**{**model.dims.model_dump(), "vocab_size": size})


def content(model: ModelConfig) -> dict[str, str]:
    """Hash each file of a pretrained model. Raises ConfigError if that is not possible."""
    if kind_of(model) == "gguf":
        return {"gguf": sha256_of(gguf_file(model)), "converter": str(GGUF_VERSION)}
    folder = local_folder(model)
    if folder is None:
        listed = _listed(model.hub_id or "", model.revision)
        if isinstance(listed, dict):
            return listed
        if not _planning.get() or model.dims is None:
            raise listed
        return {"not reached": f"{model.hub_id}@{model.revision}"}
    own = model.source == "folder" and special_tokens(folder) != special_tokens(folder, legacy=False)
    names = (*CONTENT, "special_tokens_map.json") if own else CONTENT
    try:
        return {name: _hash(path) for name, path in identifying_files(folder, names).items()}
    except ValueError as error:
        raise ConfigError(str(error)) from None


def not_reached(model: ModelConfig) -> bool:
    """Whether a hub model is not local and the hub is not reached, so that `content` is its name."""
    if kind_of(model) != "hub" or local_folder(model) is not None:
        return False
    return isinstance(_listed(model.hub_id or "", model.revision), HubNotReached)


def fetch(model: ModelConfig) -> Path:
    """The folder of a hub or folder model, downloaded if need be."""
    folder = local_folder(model)
    if folder is not None:
        return folder
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model.hub_id or "", revision=model.revision, allow_patterns=PATTERNS))


def _dims(folder: Path, said: str, trusted: bool) -> ModelDims:
    try:
        if read_json(folder / "config.json").get("auto_map") and not trusted:
            raise ValueError(
                "its config.json asks for code of its own (auto_map), which is never run here; "
                "model.trust_remote_code=true reads it as the architecture that it names"
            )
        return folder_dims(folder)
    except ValueError as error:
        raise ConfigError(f"{said}: {error}") from None


def _packaged(package: str | None) -> Path | None:
    """The GGUF file that an installed package carries."""
    if package is None:
        return None
    try:
        found = [Path(str(f.locate())) for f in files(package) or [] if f.suffix == ".gguf"]
    except PackageNotFoundError:
        return None
    return found[0] if found and found[0].is_file() else None


def _check_gguf(path: Path, templates: Set[str]) -> None:
    if not path.is_file():
        raise ConfigError(f"model.path={path}: no such file; name a .gguf file")
    if find_spec("gguf") is None:
        raise ConfigError(f"model.path={path}: reading it needs the package gguf; pip install gguf")
    try:
        gguf_dims(path)
        if templates & CHAT and not has_chat_template(path):
            raise ValueError("it has no chat template; use boxed_answer or r1_zero")
    except ValueError as error:
        raise ConfigError(f"model.path={path}: {error}") from None


def _cached(hub_id: str, revision: str | None) -> Path | None:
    """The local snapshot of a hub model, if all of its weights are there."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except Exception:  # not there, or no such name: the hub is asked next
        return None
    wanted = [folder / "config.json", folder / "tokenizer.json", *weight_files(folder)]
    return folder if all(path.exists() for path in wanted) else None


@lru_cache(maxsize=32)
def _listed(hub_id: str, revision: str | None) -> dict[str, str] | HubNotReached:
    """The hub's hashes of a model's files, or that it was not reached (asked once). Raises ConfigError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    said = f"model.hub_id={hub_id}"
    try:
        info = HfApi().model_info(hub_id, revision=revision, files_metadata=True, timeout=15)
    except GatedRepoError:
        raise ConfigError(f"{said}: accept its licence on the hub, then run hf auth login") from None
    except RepositoryNotFoundError:
        raise ConfigError(f"{said}: no such model on the hub; check the name, or run hf auth login") from None
    except RevisionNotFoundError:
        raise ConfigError(f"model.revision={revision}: {hub_id} has none of that name; drop it") from None
    except Exception as error:  # no network, a proxy, an offline switch: each raises a family of its own
        return HubNotReached(
            f"{said}: neither in the local cache nor to be reached on the hub ({type(error).__name__}); "
            "connect to a network, or use model=folder model.path=..."
        )
    found = {}
    weights = [file.rfilename for file in info.siblings or [] if file.rfilename.endswith(".safetensors")]
    top = [name for name in weights if "/" not in name]
    for file in info.siblings or []:
        if file.rfilename in (*CONTENT, *(top or weights)):
            found[file.rfilename] = str(file.lfs.sha256 if file.lfs else file.blob_id)
    if not any(name.endswith(".safetensors") for name in found):
        raise ConfigError(f"{said}: it has no safetensors weights; use a model that has")
    return {name: found[name] for name in sorted(found)}


def _hash(path: Path) -> str:
    """A file's SHA-256; in the hub's cache, the name of the blob that it links to (the hub's own hash)."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and _BLOB.fullmatch(blob.name):
        return blob.name
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """A file's SHA-256, kept until its size or time of change is another."""
    status = ordinary(path).stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
