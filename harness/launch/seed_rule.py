"""Seeds until a study has its answer: the rule that an ablation declares, or `until=` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from hydra.core.override_parser.types import Override
from pydantic import Field, model_validator

from harness.launch.syntax import parse
from harness.records.looks import SeedRule
from harness.schema.run_config import ConfigError
from harness.schema.section import Check, Positive, Section

KEY = "until"
LEAST = 4  # seeds before a look: three give a t with 2 degrees of freedom, and no verdict
EXAMPLE = "write `until: {half_width: 0.5}`, in points, or `until: verdict`"


class Until(Section):
    """Seeds are added until the primary contrast is known, by a rule that keeps its error rates."""

    half_width: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Stop once every primary contrast's interval has at most this half width, in points."""
    verdict: bool = False
    """Stop once every primary contrast is better, worse or equivalent."""
    first: Annotated[int, Field(ge=LEAST)] | None = None
    """Seeds before the first look; null: as many as `seeds` has, and at least 4."""
    step: Positive = 2
    """Seeds from one look to the next."""
    max_seeds: Annotated[int, Field(gt=LEAST, le=100)] = 20
    """Seeds at which it stops whatever was found."""

    checks: ClassVar[tuple[Check[Any], ...]] = (
        Check(
            lambda c: c.verdict == (c.half_width is not None),
            "half_width={c.half_width}, verdict={c.verdict}: give one of the two",
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """Read the short forms: a number of points, or the word verdict."""
        if isinstance(value, dict):
            return value
        if value == "verdict":
            return {"verdict": True}
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"half_width": value}
        raise ValueError(f"={value}: no number of points, nor the word verdict; {EXAMPLE}")

    def rule(self, seeds: Sequence[int], other: Sequence[int] = ()) -> SeedRule:
        """The whole rule for an ablation's `seeds`, which come first; `other` are a pilot's, left out.

        Raises ValueError where the cap leaves no seed to add.
        """
        first = max(LEAST, len(seeds)) if self.first is None else self.first
        if self.max_seeds <= first:
            raise ValueError(
                f"max_seeds={self.max_seeds}: the first look has {first} seeds, so none could be added; give "
                "more, or a smaller first"
            )
        order = list(dict.fromkeys(seeds))
        more = (
            s for s in range(max(order) + 1, max(order) + 2 + self.max_seeds + len(other)) if s not in other
        )
        order = [*order, *more][: self.max_seeds]
        return SeedRule(
            half_width=self.half_width, first=first, step=self.step, max_seeds=self.max_seeds, seeds=order
        )


def split_until(overrides: Sequence[str]) -> tuple[Any, list[str]]:
    """The value of `until=`, None without one, and the other overrides. Raises ConfigError for several."""
    mine = [line for line in overrides if line.partition("=")[0] == KEY]
    rest = [line for line in overrides if line not in mine]
    if not mine:
        return None, rest
    override: Override = parse(mine[-1:])[0]
    if override.is_sweep_override() or len(mine) > 1:
        raise ConfigError(f"{' '.join(mine)}: a study has one rule; give one value")
    value = override.value()
    if value is None:
        raise ConfigError(f"{mine[0]}: no rule; {EXAMPLE}, or leave it out")
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value, rest


def without_until(overrides: Sequence[str]) -> list[str]:
    return split_until(overrides)[1]
