"""What each seed of an ablation draws anew: its base, its problems. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.records.records import GENERATED
from harness.schema.run_config import ConfigError, RunConfig

Draws = Literal["shared", "per_seed"]


def base_lines(draws: Draws, base_seed: Draws | None) -> list[str]:
    """The override that gives each seed a base of its own, where the ablation says so."""
    own = base_seed == "per_seed" or (base_seed is None and draws == "per_seed")
    return ["base_seed=${seed}"] * own


def problem_lines(config: RunConfig, lines: Sequence[str]) -> list[str]:
    """Overrides that give each seed training, validation and test problems of its own.

    `config` is the run's without them, `lines` what made it. Raises ConfigError for problems that no program
    makes, and for a data_seed of one's own.
    """
    data = config.data
    parts = {f"data.components.{name}": part for name, part in data.components.items()} or {"data": data}
    fixed = [part.name for part in parts.values() if part.dataset not in GENERATED]
    if fixed:
        raise ConfigError(
            f"ablation.draws=per_seed with data={data.name}: the problems of {', '.join(fixed)} are fixed; "
            f"choose generated ones (dataset {' or '.join(GENERATED)}), or let draws be shared"
        )
    if given := [line for line in lines if line.partition("=")[0].endswith("data_seed")]:
        raise ConfigError(f"{given[0]} with ablation.draws=per_seed, which sets it; drop one of the two")
    return [f"{place}.data_seed=${{seed}}" for place in parts]


def pairing(draws: Draws, *, shared_base: bool) -> Literal["paired", "unpaired"]:
    """How two arms are compared, fixed before the first run and never chosen by the results.

    Seeds that share base and problems have nothing in common between arms but their random numbers, whose
    correlation was measured at about 0: pairing costs degrees of freedom and gains nothing there. A base or
    problems of a seed's own move both arms alike, and pairing takes that out.
    """
    return "unpaired" if shared_base and draws == "shared" else "paired"
