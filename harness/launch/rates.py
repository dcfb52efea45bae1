"""Learning rates that every arm tries alike: what an ablation declares, and what a sweep makes of it.

`per_seed` runs the whole grid of rates x seeds, and the analysis takes for each seed the rate that is best on
that seed's own validation: an interval over seeds then contains the choice. `pooled` chooses one rate an arm
in a pilot (harness/launch/pilot.py), which no interval over seeds contains.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from harness.launch.pipeline import LAST
from harness.schema.run_config import ConfigError, RunConfig
from harness.schema.section import Positive, PositiveFloat, Section, Seed
from harness.schema.settings import STAGE_SETTING

SPLIT = "validation"


class RateGrid(Section):
    """Learning rates that every arm tries alike; the best on the validation split is taken.

    Of an arm that is a pipeline they are its last stage's; an earlier stage's rate may be a factor.
    """

    rates: list[PositiveFloat] = Field(min_length=2)
    """Learning rates to try; of equally good ones the smaller is taken."""
    select: Literal["per_seed", "pooled"] = "per_seed"
    """per_seed: every rate at every seed, each seed's best by its own validation. pooled: one rate an arm, by
    a pilot at other seeds; intervals over seeds leave that choice out."""
    seeds: list[Seed] = Field(default_factory=list)
    """Seeds of the pilot's runs, which are not reported; for select=pooled."""
    k: Positive = 16
    """Samples of each validation problem in the pilot; for select=pooled."""

    @model_validator(mode="after")
    def _belongs(self) -> Self:
        if len({as_text(rate) for rate in self.rates}) < len(self.rates):
            raise ValueError(f"rates={self.rates}: a rate stands twice; give each once")
        if self.select == "pooled" and not self.seeds:
            raise ValueError("seeds: select=pooled needs seeds for its pilot, such as [100, 101]")
        if self.select == "per_seed" and (given := self.model_fields_set & {"seeds", "k"}):
            name = sorted(given)[-1]
            raise ValueError(
                f"{name}={getattr(self, name)}: read with select=pooled alone; leave it out, or give that"
            )
        return self


def rate_key(stage: str | None) -> str:
    """The override of an arm's learning rate: of a pipeline's last stage `pipeline.rl.trainer.lr`."""
    return "trainer.lr" if stage is None else f"{STAGE_SETTING}{stage}.trainer.lr"


def as_text(rate: float) -> str:
    """A learning rate as overrides and study.json have it: `0.0001`."""
    return f"{rate:g}"


def rates_per_seed(grid: RateGrid | None, given: Collection[str]) -> list[float]:
    """The rates that a sweep runs at every seed, ascending; none if it has a single rate an arm.

    `given` are keys of the command line: a trainer.lr there is every arm's.
    """
    if grid is None or grid.select != "per_seed" or {"trainer.lr", rate_key(LAST)} & set(given):
        return []
    return sorted(grid.rates)


def check_validation(rates: Sequence[float], configs: Sequence[RunConfig]) -> None:
    """Raises ConfigError where each seed chooses its rate on validation and that is not evaluated."""
    for settings in (config.eval for config in configs) if rates else ():
        if SPLIT not in settings.splits:
            raise ConfigError(
                f"ablation.lr_grid with select=per_seed and eval.splits=[{','.join(settings.splits)}]: each "
                f"seed chooses its rate on {SPLIT}; add it to the splits"
            )
