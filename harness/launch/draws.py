"""What each seed of an ablation draws anew: its base, its problems. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.launch.compose import Composer
from harness.launch.pretrained import pretrained_lines
from harness.records.records import GENERATED
from harness.schema.data_config import DataConfig
from harness.schema.run_config import ConfigError, RunConfig

Draws = Literal["shared", "per_seed"]


def base_lines(draws: Draws, base_seed: Draws | None) -> list[str]:
    """The override that gives each seed a base of its own, where the ablation says so."""
    own = base_seed == "per_seed" or (base_seed is None and draws == "per_seed")
    return ["base_seed=${seed}"] * own


def drawn_configs(composer: Composer, draws: Draws, lines: list[str]) -> tuple[list[str], list[RunConfig]]:
    """A run's overrides, with those that its model calls for or that draw its problems, and its config, or
    those of its stages."""
    last = [line for line in lines if line.startswith("seed=")]
    rest = [line for line in lines if not line.startswith("seed=")]
    key = (draws, *rest)
    if key not in composer.called_for:  # what one seed of an arm calls for, every other one does
        configs = composer.configs(lines)
        more = pretrained_lines(composer, configs, lines)
        composer.defaults |= dict.fromkeys(more)
        if draws == "per_seed":
            own = problem_lines(composer.configs([*more, *lines]) if more else configs, [*more, *lines])
        composer.called_for[key] = more, own if draws == "per_seed" else []
    more, own = composer.called_for[key]
    lines = [*more, *rest, *own, *last] if draws == "per_seed" else [*more, *lines]
    return lines, composer.configs(lines)


def problem_lines(configs: Sequence[RunConfig], lines: Sequence[str]) -> list[str]:
    """Overrides that give each seed training, validation and test problems of its own.

    `configs` are those of the run's stages without them, `lines` what made it. Raises ConfigError for
    problems that no program makes, for a data_seed of one's own, and for stages with sets of other names.
    """
    places = [_places(config.data) for config in configs]
    if given := [line for line in lines if line.partition("=")[0].endswith("data_seed")]:
        raise ConfigError(f"{given[0]} with ablation.draws=per_seed, which sets it; drop one of the two")
    for config, found in zip(configs, places, strict=True):
        if found != _places(configs[0].measured_data):
            raise ConfigError(
                f"ablation.draws=per_seed with data={config.data.name} in one stage: its sets are "
                "not the pipeline's; use one mixture in every stage, whose weights change"
            )
    return [f"{place}.data_seed=${{seed}}" for place in places[0]]


def _places(data: DataConfig) -> list[str]:
    """Sections that have a data_seed, one a set of problems. Raises ConfigError for published sets."""
    parts = {f"data.components.{name}": part for name, part in data.components.items()} or {"data": data}
    fixed = [part.name for part in parts.values() if part.dataset not in GENERATED]
    if fixed:
        raise ConfigError(
            f"ablation.draws=per_seed with data={data.name}: the problems of {', '.join(fixed)} are fixed; "
            f"choose generated ones (dataset {' or '.join(GENERATED)}), or let draws be shared"
        )
    return list(parts)


def pairing(draws: Draws, *, shared_base: bool) -> Literal["paired", "unpaired"]:
    """How two arms are compared, fixed before the first run and never chosen by the results.

    Seeds that share base and problems have nothing in common between arms but their random numbers, whose
    correlation was measured at about 0: pairing costs degrees of freedom and gains nothing there. A base or
    problems of a seed's own move both arms alike, and pairing takes that out.
    """
    return "unpaired" if shared_base and draws == "shared" else "paired"
