"""An exported run, and what its card calls the base, the data and the settings. Imports no torch.

Files and folders appear by their names alone: a card has no path of the machine.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.data.registry import GENERATORS, PUBLISHED
from harness.launch.card_stages import EarlierStage
from harness.launch.measured import Measured
from harness.records.records import BaseRecord, RunRecord
from harness.schema.data_config import DataConfig
from harness.schema.run_config import RunConfig

PROJECT = "R1 ablations"


@dataclass(frozen=True)
class Exported:
    """What a card is about. `last`: the run's last step; `parameters` counts all, embeddings included.

    `before` are the stages of a pipeline that the run comes from.
    """

    record: RunRecord
    config: RunConfig
    step: int
    last: int
    dtype: str
    parameters: int
    base: BaseRecord | None
    licence: str | None
    chat: bool
    measured: Sequence[Measured]
    data_report: Mapping[str, Any]
    before: Sequence[EarlierStage] = ()

    @property
    def configs(self) -> list[RunConfig]:
        """The configs of the run and of the stages that it comes from."""
        return [each.config for each in self.before if each.config is not None] + [self.config]


def hub_name(task: str) -> str:
    """The hub's name of the data behind a task; the task's own where it is generated or the user's."""
    fitting = [name for name in PUBLISHED if task == name or task.startswith(name + "_")]
    return source_ids(max(fitting, key=len))[0] if fitting else task


def source_ids(dataset: str) -> list[str]:
    return list(dict.fromkeys(source.hub_id for source in PUBLISHED[dataset].SOURCES.values()))


def hub_datasets(data: DataConfig) -> list[str]:
    """Data sets of the hub that the training problems are from."""
    parts = [data, *data.components.values()]
    found = [name for part in parts if part.dataset in PUBLISHED for name in source_ids(part.dataset)]
    return list(dict.fromkeys(found))


def base_name(about: Exported) -> str:
    model = about.config.model
    if model.is_ladder:
        return f"A small transformer (`{model.name}`) pretrained from scratch on generated worked solutions"
    if model.hub_id is not None:
        return f"[{model.hub_id}](https://huggingface.co/{model.hub_id})"
    return f"The model `{model.name}` ({model.source} `{Path(model.path or '').name}`)"


def data_name(config: RunConfig) -> str:
    data = config.data
    if data.components:
        return "a mixture of " + ", ".join(f"{name}" for name in data.components)
    ids = hub_datasets(data)
    link = f" ([{ids[0]}](https://huggingface.co/datasets/{ids[0]}))" if ids else ""
    return f"`{data.name}`{link or (' (generated problems)' if is_generated(data) else '')}"


def is_generated(data: DataConfig) -> bool:
    return data.dataset in GENERATORS


def command(overrides: Sequence[str]) -> str:
    """The run's command with files and folders by their names alone, and without where it wrote."""
    kept = [each for each in overrides if not each.startswith(("output_dir=", "tracking.", "--config-dir"))]
    return " ".join(["python -m harness", *(shlex.quote(_short(each)) for each in kept)]).replace("`", "'")


def _short(override: str) -> str:
    name, sign, value = override.partition("=")
    return name + sign + Path(value).name if value.startswith(("/", "~", "./", "../")) else override


def shared_settings(config: RunConfig) -> str:
    """The run's settings as YAML, without where it wrote and was tracked; files by their names alone."""
    settings = config.model_dump(mode="json", exclude={"output_dir", "tracking"})
    return yaml.safe_dump(_named(settings), sort_keys=False, allow_unicode=True)


def _named(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _named(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_named(inner, key) for inner in value]
    is_path = isinstance(value, str) and (key in ("path", "kept_text") or Path(value).is_absolute())
    return Path(value).name if is_path else value


def data_report(path: Path) -> dict[str, Any]:
    """What a run wrote of its data (data.json); {} where it is not there or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
