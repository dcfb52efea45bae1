"""A run's config as a person reads it. Imports no torch."""

from __future__ import annotations

import yaml

from harness.schema.run_config import RunConfig


class _Dumper(yaml.SafeDumper):
    """YAML with texts of several lines, such as the source of a user's function, as they stand."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def config_text(config: RunConfig) -> str:
    """A run's whole config as YAML, for readers."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)
