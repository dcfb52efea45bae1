"""What an ablation declares: conf/ablation/*.yaml, read before anything runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from harness.launch.compose import GROUPS
from harness.launch.draws import base_lines
from harness.launch.rates import RateGrid, as_text
from harness.launch.seed_rule import Until
from harness.records.looks import SeedRule
from harness.schema.explain import did_you_mean
from harness.schema.run_config import ConfigError
from harness.schema.section import Section, Seed
from harness.schema.settings import STAGE_SETTING, is_setting, nearest

# What to write for a key that is missing.
EXAMPLES = {
    "question": "question: Does GRPO raise accuracy more than SFT?",
    "factors": "factors: {objective: [sft_rejection, grpo]}",
    "seeds": "seeds: [0, 1, 2]",
    "control": "control: {objective: sft_rejection}",
    "factor": "factor: objective",
    "rates": "rates: [1.0e-4, 3.0e-4]",
    "margin": "margin: {share: 0.25}",
    "until": "until: {half_width: 0.5}",
}


def label_of(level: Any) -> str:
    """A level's label: a number's and null's as they are typed."""
    return "null" if level is None else str(level)


Level = Annotated[str, BeforeValidator(lambda v: label_of(v) if isinstance(v, (int, float)) else v)]


class Primary(Section):
    """What the study was made to find."""

    factor: str
    """Factor whose levels are compared."""
    criterion: Literal["difference", "gain"] = "difference"
    """difference: `contrast` against the control level. gain: a level of the ablation's `family` passes if
    the interval of its gain over the base lies above 0."""
    contrast: Level | None = None
    """Level that is compared with the control; null: every other level. For criterion=difference."""
    null_gain: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Largest mean gain that each of `nulls` may have; null: shown without a verdict. For criterion=gain."""
    path: list[Level] = Field(default_factory=list)
    """Levels to compare each with the one before it."""
    split: str = "test"
    """Split, or benchmark, that decides."""
    metric: Literal["avg", "greedy", "maj", "pass", "chain", "chain_pass"] = "avg"
    """Accuracy that decides, at the evaluation's k."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of the interval."""


class GainShare(Section):
    """A margin that is a share of the control's gain over its base."""

    share: float
    """Share of the gain, such as 0.25; above 0 and below 1."""


class AblationSpec(Section):
    """Factors x levels x seeds, and what the comparison is."""

    question: str
    """Question that the study answers."""
    factors: dict[str, list[Any] | dict[str, list[str]]]
    """Config keys with their levels (`objective: [sft_rejection, grpo]`), or names with labelled levels, each
    a list of overrides (`lr: {low: [trainer.lr=1e-4], high: [trainer.lr=1e-3]}`)."""
    seeds: list[Seed] = Field(min_length=1)
    """Seeds of each arm; with `until` the first ones."""
    until: Until | None = None
    """Add seeds until the primary contrast is known: half width `0.5` points, or `verdict`; null: none."""
    base_seed: Literal["shared", "per_seed"] | None = None
    """shared: one base for all seeds. per_seed: a base for each. null: as `draws`, or as the config says."""
    draws: Literal["shared", "per_seed"] = "shared"
    """per_seed: each seed has training and test problems of its own, and a base unless that is shared; for
    generated problems. shared: all seeds have the config's problems."""
    match: Literal["samples", "updates", "flops"] | None = None
    """Set each arm's steps so that it spends its control's samples, updates, or FLOPs; null: the config's."""
    fixed: list[str] = Field(default_factory=list)
    """Config keys or sections that no arm may change."""
    control: dict[str, Annotated[str, BeforeValidator(label_of)]]
    """Level of each factor that differences are taken against."""
    primary: Primary | None = None
    """The comparison that decides; null: none is declared."""
    family: list[Level] = Field(default_factory=list)
    """Levels of the primary factor that the claim is about, adjusted together by Holm; empty: all."""
    nulls: list[Level] = Field(default_factory=list)
    """Levels of it that cannot teach anything, such as a random reward: their gain ought to be 0."""
    ceiling: Level | None = None
    """Level of it that trains on true derivations: what the gains of the others are shown as a share of."""
    checkpoint: Literal["last", "validation"] = "last"
    """Checkpoint that a run is judged by: its last, or the best avg@k on validation of those evaluated."""
    margin: float | GainShare | None = None
    """Difference in accuracy within which two arms are equivalent, or `{share: 0.25}` of the control's gain;
    null: no claim of equivalence."""
    lr_grid: RateGrid | None = None
    """Learning rates to choose from, for each seed or in a pilot; null: the config's for every arm."""

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        for name, levels in self.factors.items():
            if isinstance(levels, list) and name not in GROUPS and not is_setting(name):
                hint = nearest(name, GROUPS)
                raise ValueError(f"factors.{name}: no setting, and its levels have no overrides{hint}")
            if isinstance(levels, dict) and (name in GROUPS or is_setting(name)):  # a choice loses them
                raise ValueError(
                    f"factors.{name}: a setting's name, and its levels have overrides of their own: name the "
                    "factor otherwise, so that its levels can be chosen"
                )
        for name, label in self.control.items():
            if name not in self.factors:
                raise ValueError(f"control.{name}: not a factor{did_you_mean(name, list(self.factors))}")
            self._known(f"control.{name}", name, label)
        if self.primary is None:
            for field in ("family", "nulls", "ceiling"):
                if getattr(self, field):
                    raise ValueError(f"{field}: its levels are those of primary.factor; give primary")
            return self
        factor = self.primary.factor
        if factor not in self.factors:
            raise ValueError(
                f"primary.factor={factor}: not a factor{did_you_mean(factor, list(self.factors))}"
            )
        contrast = self.primary.contrast
        named = {"primary.contrast": [] if contrast is None else [contrast], "family": self.family}
        for field, levels in named.items():
            for level in levels:
                self._known(field, factor, level)
                if level == self.control.get(factor):
                    raise ValueError(f"{field}={level}: it is the control; name a level to compare with it")
        ceiling = [] if self.ceiling is None else [self.ceiling]
        others = {"primary.path": self.primary.path, "nulls": self.nulls, "ceiling": ceiling}
        for field, levels in others.items():
            for level in levels:
                self._known(field, factor, level)
        self._criterion(self.primary)
        return self

    def _criterion(self, primary: Primary) -> None:
        if primary.criterion == "difference":
            if primary.null_gain is not None:
                raise ValueError(
                    f"primary.null_gain={primary.null_gain}: belongs to primary.criterion=gain; give that, "
                    "or drop it"
                )
            return
        if primary.contrast is not None:
            raise ValueError(
                f"primary.contrast={primary.contrast}: with criterion gain each level of family is compared "
                "with its own base; drop the contrast, or let the criterion be difference"
            )
        if not self.family:
            raise ValueError("family: criterion gain is about its levels; name them")
        if primary.null_gain is not None and not self.nulls:
            raise ValueError(
                f"primary.null_gain={primary.null_gain}: is about the levels of nulls; name them, or drop it"
            )
        if both := [level for level in self.family if level in self.nulls]:
            raise ValueError(f"nulls={both[0]}: it is also of the family, whose gain is claimed; drop one")

    @model_validator(mode="after")
    def _rates_apart(self) -> Self:
        if self.lr_grid is None:
            return self
        if both := sorted(set(self.seeds) & set(self.lr_grid.seeds)):
            raise ValueError(
                f"lr_grid.seeds: {both[0]} is also a reported seed; choose others, such as 100, 101"
            )
        lines = [line for name, v in self.factors.items() for _, _, ls in levels_of(name, v) for line in ls]
        if any(line.startswith(("trainer.lr=", "trainer=")) for line in lines) or "trainer.lr" in self.fixed:
            raise ValueError("lr_grid with trainer.lr set by a factor or fixed; drop one of the two")
        return self

    @model_validator(mode="after")
    def _until_has_a_contrast(self) -> Self:
        if self.until is None:
            return self
        if self.primary is None:
            raise ValueError("until: it looks at the primary contrast; give primary")
        if self.primary.criterion == "difference" and self.primary.factor not in self.control:
            raise ValueError(
                f"until: {self.primary.factor} has no control to take differences against; give control"
            )
        try:
            assert self.seed_rule is not None
        except ValueError as error:
            raise ValueError(f"until.{error}") from None
        return self

    @property
    def seed_rule(self) -> SeedRule | None:
        """How seeds are added, with every seed that may run; None where they are the declared ones."""
        pilot = self.lr_grid.seeds if self.lr_grid else ()
        return None if self.until is None else self.until.rule(self.seeds, pilot)

    @model_validator(mode="after")
    def _margin_below_1(self) -> Self:
        share = isinstance(self.margin, GainShare)
        value = self.margin.share if isinstance(self.margin, GainShare) else self.margin
        if value is not None and not 0 < value < 1:
            what = "share of the control's gain" if share else "difference in accuracy"
            raise ValueError(
                f"margin{'.share' if share else ''}={value:g}: a {what} above 0 and below 1; write "
                f"`{EXAMPLES['margin']}`"
            )
        return self

    def _known(self, field: str, factor: str, label: str) -> None:
        labels = [known for _, known, _ in levels_of(factor, self.factors.get(factor, []))]
        if label not in labels:
            raise ValueError(f"{field}={label}: not a level of {factor}{did_you_mean(label, labels)}")


def read_spec(data: Any, file: str, until: Any = None, *, own_seeds: bool = False) -> AblationSpec | None:
    """Check what `file` declares, with the command line's `until`, if any, in the place of its own.

    `own_seeds`: the command line names seeds, which no rule then adds to. Raises ConfigError: one line with
    file, field, value and remedy.
    """
    if data is None:
        if until is not None:
            raise ConfigError(f"until={until}: adds seeds to an ablation; give one: ablation=NAME")
        return None
    if own_seeds and until is not None:
        raise ConfigError(
            f"until={until} with seed=...: the rule chooses the seeds; drop one of the two, or give "
            "'until={half_width: ..., first: ...}'"
        )
    if not isinstance(data, Mapping):
        raise ConfigError(f"{file}: ablation holds settings of its own: {', '.join(EXAMPLES)}")
    try:
        spec = AblationSpec.model_validate(data if until is None else {**data, "until": until})
        return spec.model_copy(update={"until": None}) if own_seeds else spec
    except ValidationError as error:
        # A misspelt key makes another one missing: it comes first.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        said = _said(first)
        given = until is not None and said.startswith("until")
        raise ConfigError(said if given else f"{file}: ablation.{said}") from None


def _said(error: Any) -> str:
    """Name an error and its place; of what stands there, one value at most."""
    # A union's loc also names the type that was tried, which is no part of what is written.
    path = ".".join(str(p) for p in error["loc"] if p != "float" and GainShare.__name__ not in str(p))
    if error["type"] == "value_error":
        said = str(error["ctx"]["error"])
        return f"{path}{'.' if path and not said.startswith('=') else ''}{said}"
    if error["type"] == "extra_forbidden":
        parts: dict[str, type[Section]] = {"margin": GainShare, "until": Until}
        known = parts.get(str(error["loc"][0]), AblationSpec)
        hint = did_you_mean(str(error["loc"][-1]), list(known.model_fields))
        return f"{path}: no such setting{hint}"
    if error["type"] == "missing":
        example = EXAMPLES.get(str(error["loc"][-1]))
        return f"{path}: missing" + (f"; write `{example}`" if example else "")
    shown = f"={error['input']}" if isinstance(error["input"], str | int | float) else ""
    example = EXAMPLES.get(str(error["loc"][0]))
    return f"{path}{shown}: {error['msg'][0].lower()}{error['msg'][1:]}" + (
        f"; write `{example}`" if example else ""
    )


def levels_of(name: str, levels: list[Any] | dict[str, list[str]]) -> list[tuple[str, str, list[str]]]:
    """(factor, label, overrides) for each level."""
    if isinstance(levels, dict):
        return [(name, label, list(lines)) for label, lines in levels.items()]
    return [(name, label, [f"{name}={label}"]) for label in map(label_of, levels)]


def arm_key(levels: dict[str, str]) -> str:
    """`objective=grpo,model=ladder_xs`: an arm's name where the learning rates of a pilot are kept."""
    return ",".join(f"{name}={level}" for name, level in levels.items())


def own_lines(
    spec: AblationSpec | None,
    rates: dict[str, float] | None,
    levels: dict[str, str],
    rate: float | None,
    steps: int | None,
    stage: str | None,
) -> list[str]:
    """What the ablation sets beside the levels: the learning rate, the seed's base.

    `rates` are a pilot's choices by arm, `rate` one that every seed tries; `steps` meet the control's budget.
    Both are of `stage`, the last of a pipeline.
    """
    chosen = rate if rates is None else rates[arm_key(levels)]
    at = "" if stage is None else f"{STAGE_SETTING}{stage}."
    lines = [] if chosen is None else [f"{at}trainer.lr={as_text(chosen)}"]
    lines += [] if steps is None else [f"{at}trainer.steps={steps}"]
    return lines + ([] if spec is None else base_lines(spec.draws, spec.base_seed))
