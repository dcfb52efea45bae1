"""What a pipeline declares, conf/pipeline/*.yaml, and the overrides of its stages. Imports no torch.

    pipeline=r1                      every stage of conf/pipeline/r1.yaml, in order
    stage=rl                         the stages up to that one
    pipeline.rl.trainer.lr=1e-4      a setting of one stage, or a group's option: pipeline.rl.objective=dapo
    pipeline.last.trainer.lr=1e-4    the same of the last stage that runs, and of a run without a pipeline

Anything else on the command line is every stage's, and an error where a stage sets it itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from harness.schema.run_config import ConfigError, did_you_mean
from harness.schema.section import Name, Section
from harness.schema.settings import STAGE_SETTING

SECTIONS = ("objective", "data", "rollout", "trainer", "eval")  # what a stage may set
LAST = "last"
RESERVED = (LAST, "name", "stages")
STAGE = "stage="


class PipelineSpec(Section):
    """Stages in order, each an ordinary run that begins from the last checkpoint of the one before."""

    name: Name
    """What records and tables call it."""
    stages: Annotated[dict[Name, list[str]], Field(min_length=1)]
    """Stages in order, each a list of overrides: `rl: [objective=grpo, trainer.steps=24]`. They set
    objective, data, rollout, trainer and eval; anything else is the whole pipeline's."""

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        for name, lines in self.stages.items():
            if name in RESERVED:
                raise ValueError(f"stages.{name}: the name has a meaning of its own; choose another")
            for line in lines:
                if section_of(line) not in SECTIONS:
                    raise ValueError(
                        f"stages.{name}: {line} is the whole pipeline's; a stage sets {', '.join(SECTIONS)}"
                    )
        return self


@dataclass(frozen=True)
class Lines:
    """Overrides by whom they concern: every run, or one stage."""

    every: list[str]
    stages: list[tuple[str, str]]


def key_of(line: str) -> str:
    """`trainer.lr` of `+trainer.lr=1e-4`."""
    return line.lstrip("+~").partition("=")[0]


def section_of(line: str) -> str:
    """`trainer` of `trainer.lr=1e-4`."""
    return key_of(line).partition(".")[0]


def split_lines(lines: Sequence[str]) -> Lines:
    """Part `pipeline.STAGE.KEY=VALUE` from what every run gets, and take the stage's name off it."""
    every, stages = [], []
    for line in lines:
        if key_of(line).startswith(STAGE_SETTING):
            name, _, rest = line.lstrip("+").removeprefix(STAGE_SETTING).partition(".")
            stages.append((name, rest))
        else:
            every.append(line)
    return Lines(every, stages)


def read_pipeline(data: Any) -> PipelineSpec | None:
    """Check what a pipeline's file declares. Raises ConfigError: one line with pipeline, field and remedy."""
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ConfigError(f"pipeline={data}: it holds a name and stages, as conf/pipeline/r1.yaml does")
    try:
        return PipelineSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        said = str(first["ctx"]["error"]) if first["type"] == "value_error" else f"{path}: {first['msg']}"
        raise ConfigError(f"pipeline={data.get('name')}: pipeline.{said}") from None


def chosen(spec: PipelineSpec | None, stage: Any) -> list[str]:
    """The stages to run: all, or those up to `stage`; none without a pipeline.

    Raises ConfigError for a stage that there is not.
    """
    if spec is None:
        if stage is not None:
            raise ConfigError(f"stage={stage}: there are no stages; choose pipeline=NAME")
        return []
    names = list(spec.stages)
    if stage is not None and stage not in names:
        hint = did_you_mean(str(stage), names)
        raise ConfigError(f"stage={stage}: pipeline={spec.name} has no such stage{hint}")
    return names if stage is None else names[: names.index(stage) + 1]


def with_last(lines: Lines, names: Sequence[str]) -> Lines:
    """Put the last stage in the place of `last`; for a run without stages those lines are its own."""
    if all(name != LAST for name, _ in lines.stages):
        return lines
    if names:
        return Lines(
            lines.every, [(names[-1] if name == LAST else name, line) for name, line in lines.stages]
        )
    mine = [line for name, line in lines.stages if name == LAST]
    return Lines([*lines.every, *mine], [pair for pair in lines.stages if pair[0] != LAST])


def joined(lines: Lines) -> list[str]:
    """Write them as overrides again."""
    return [*lines.every, *(f"{STAGE_SETTING}{name}.{line}" for name, line in lines.stages)]


def typed(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra takes them too, which has no settings of a stage and is to add them."""
    return [f"+{line}" if line.startswith(STAGE_SETTING) else line for line in overrides]


def stage_lines(spec: PipelineSpec, name: str, lines: Lines) -> list[str]:
    """Every override of one stage: what all stages have, its own, and what the command line says of it.

    Raises ConfigError for a setting of every run that a stage sets itself.
    """
    own = list(spec.stages[name])
    setting = {key_of(line) for line in own}
    for line in lines.every:
        if key_of(line) in setting:
            raise ConfigError(
                f"{line}: stage {name} of pipeline={spec.name} sets {key_of(line)} itself; give "
                f"{STAGE_SETTING}{name}.{line.lstrip('+')}"
            )
    found = [line for line in lines.every if not line.startswith(STAGE)]
    found += own + [line for stage, line in lines.stages if stage == name]
    last = {key_of(line): place for place, line in enumerate(found)}
    return [line for place, line in enumerate(found) if last[key_of(line)] == place]


def check_stages(spec: PipelineSpec | None, lines: Lines) -> None:
    """Raises ConfigError for a setting of a stage that there is not, or that is the whole pipeline's."""
    for name, line in lines.stages:
        if spec is None:
            raise ConfigError(f"{STAGE_SETTING}{name}.{line}: there are no stages; choose pipeline=NAME")
        if name not in spec.stages:
            hint = did_you_mean(name, list(spec.stages))
            raise ConfigError(f"{STAGE_SETTING}{name}.{line}: pipeline={spec.name} has no such stage{hint}")
        if section_of(line) not in SECTIONS:
            raise ConfigError(f"{STAGE_SETTING}{name}.{line}: it is the whole pipeline's; give {line}")
