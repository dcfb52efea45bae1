"""The licence of a pretrained model, as the hub names it (`apache-2.0`). Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from harness.model.files.gguf import header
from harness.model.files.source import gguf_file, kind_of
from harness.schema.model_config import ModelConfig

# Of the presets in conf/model, by the beginning of their names on the hub; the longest that fits counts.
KNOWN = {
    "HuggingFaceTB/SmolLM2-": "apache-2.0",
    "Qwen/Qwen2.5-": "apache-2.0",
    "Qwen/Qwen3-": "apache-2.0",
    "deepseek-ai/DeepSeek-R1-Distill-": "mit",
    "meta-llama/Llama-3.1-": "llama3.1",
}


def licence(model: ModelConfig, folder: Path) -> str | None:
    """Licence of a base: by its model card in `folder`, its GGUF file, or its preset; None: not known."""
    if model.is_ladder:
        return None
    found = front_matter(folder / "README.md").get("license")
    if found is None and kind_of(model) == "gguf" and gguf_file(model).is_file():
        found = header(gguf_file(model))[0].get("general.license")
    if isinstance(found, str) and found:
        return found
    fitting = [name for name in KNOWN if (model.hub_id or "").startswith(name)]
    return KNOWN[max(fitting, key=len)] if fitting else None


def front_matter(card: Path) -> dict[str, Any]:
    """The settings at the top of a model card; {} for a file without, or that is no card."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        found = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
