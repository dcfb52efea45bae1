"""What a pipeline declares, conf/pipeline/*.yaml, and the overrides of its stages. Imports no torch.

    pipeline=r1                      every stage of conf/pipeline/r1.yaml, in order
    stage=rl                         that one and those that it comes from
    pipeline.rl.trainer.lr=1e-4      a setting of one stage, or a group's option: pipeline.rl.objective=dapo
    pipeline.last.trainer.lr=1e-4    the same of the last stage that runs, and of a run without a pipeline

A stage begins from the stage before, or from what its line `start=` names: another, or `base`. One with a
model of its own trains a teacher: `objective.teacher.stage` of a later stage names it. Anything else on the
command line is every stage's, and an error where a stage sets it itself, but for `model`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from harness.identity import run_id
from harness.model.files.teacher_files import check_teacher
from harness.schema.explain import did_you_mean
from harness.schema.run_config import ConfigError, RunConfig
from harness.schema.section import Name, Section
from harness.schema.settings import STAGE_SETTING

SECTIONS = ("model", "objective", "data", "rollout", "trainer", "eval")  # what a stage may set
LAST, BASE = "last", "base"
RESERVED = (LAST, BASE, "name", "stages")
STAGE, START, TEACHER = "stage=", "start=", "objective.teacher.stage="


class PipelineSpec(Section):
    """Stages in order, each an ordinary run that begins from the last checkpoint of an earlier one."""

    name: Name
    """What records and tables call it."""
    stages: Annotated[dict[Name, list[str]], Field(min_length=1)]
    """Stages in order, each a list of overrides: `rl: [objective=grpo, trainer.steps=24]`. They set
    objective, data, rollout, trainer, eval and a teacher's model; anything else is the whole pipeline's.
    `start=base` begins a stage from its model's base, `start=NAME` from another stage than the one before."""

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        for place, (name, lines) in enumerate(self.stages.items()):
            if name in RESERVED:
                raise ValueError(f"stages.{name}: the name has a meaning of its own; choose another")
            for line in lines:
                if line.startswith(START):
                    _check_start(name, line.removeprefix(START), list(self.stages)[:place])
                elif section_of(line) not in SECTIONS:
                    raise ValueError(
                        f"stages.{name}: {line} is the whole pipeline's; a stage sets {', '.join(SECTIONS)}"
                    )
        return self

    def start(self, name: str) -> str | None:
        """The stage that a stage begins from; None: it begins from its model's base."""
        names = list(self.stages)
        before = names[names.index(name) - 1] if names[0] != name else BASE
        given = [line.removeprefix(START) for line in self.stages[name] if line.startswith(START)]
        found = given[-1] if given else before
        return None if found == BASE else found

    def overrides(self, name: str) -> list[str]:
        """What a stage sets, without what it begins from."""
        return [line for line in self.stages[name] if not line.startswith(START)]


def _check_start(name: str, start: str, earlier: Sequence[str]) -> None:
    """Raises ValueError for a start that is neither the base nor an earlier stage."""
    if start != BASE and start not in earlier:
        known = ", ".join([BASE, *earlier])
        raise ValueError(f"stages.{name}: {START}{start}: no earlier stage has that name; give {known}")


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


def chosen(spec: PipelineSpec | None, stage: Any, lines: Lines) -> list[str]:
    """The stages to run, in order: all, or `stage` and those that it comes from; none without a pipeline.

    `lines` are the command line's, which may name a teacher. Raises ConfigError where there is no such stage.
    """
    if spec is None:
        if stage is not None:
            raise ConfigError(f"stage={stage}: there are no stages; choose pipeline=NAME")
        return []
    names = list(spec.stages)
    if isinstance(stage, list):
        listed = ",".join(map(str, stage))
        raise ConfigError(
            f"stage=[{listed}]: a run ends with one stage; for a run of each type stage={listed}"
        )
    if stage is not None and stage not in names:
        hint = did_you_mean(str(stage), names)
        raise ConfigError(f"stage={stage}: pipeline={spec.name} has no such stage{hint}")
    if stage is None:
        return names
    needed: list[str] = []

    def add(name: str) -> None:
        needed.append(name)
        for other in (spec.start(name), _teacher(spec, name, lines, is_last=name == stage)):
            if other is not None and other not in needed:
                add(other)

    add(stage)
    return [name for name in names if name in needed]


def _teacher(spec: PipelineSpec, name: str, lines: Lines, *, is_last: bool) -> str | None:
    """The earlier stage that trains a stage's teacher, by its last line that names one."""
    names = (name, LAST) if is_last else (name,)
    given = [*spec.stages[name], *(line for stage, line in lines.stages if stage in names)]
    found = ""
    for line in given:
        if line.startswith(TEACHER):
            found = line.removeprefix(TEACHER)
        elif key_of(line) == "objective.teacher":  # {path: /a, stage: null}
            named = re.search(r"\bstage: *([\w.-]+)", line)
            found = named[1] if named else ""
    return found if found in list(spec.stages)[: list(spec.stages).index(name)] else None


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
    own = spec.overrides(name)
    setting = {key_of(line) for line in own} - {"model"}  # of every stage it is the policy's, not a teacher's
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


def placed(
    spec: PipelineSpec, name: str, made: Mapping[str, Any], earlier: Mapping[str, RunConfig]
) -> dict[str, Any]:
    """What was composed of a stage, with its place in the pipeline: its start and its teacher.

    Raises ConfigError for a teacher that is no earlier stage.
    """
    start, teacher = spec.start(name), (made["objective"].get("teacher") or {})
    before = None if start is None else earlier[start]
    index = 1 if before is None or before.stage is None else before.stage.index + 1
    stage: dict[str, Any] = {"pipeline": spec.name, "name": name, "index": index}
    stage["start"] = None if before is None else _named(before)
    if (taught_by := teacher.get("stage")) is None:
        return {**made, "stage": stage}
    if taught_by not in earlier or teacher.get("model") is not None:
        why = "it has a model of its own; drop teacher.model" if taught_by in earlier else "no earlier stage"
        hint = "" if taught_by in earlier else did_you_mean(str(taught_by), list(earlier))
        raise ConfigError(f"stage {name}: objective.teacher.stage={taught_by}: {why}{hint}")
    stage["teacher"] = _named(earlier[taught_by])
    teacher = {**teacher, "model": earlier[taught_by].model.model_dump()}
    return {**made, "objective": {**made["objective"], "teacher": teacher}, "stage": stage}


def check_start(spec: PipelineSpec, name: str, found: Mapping[str, RunConfig]) -> None:
    """Raises ConfigError for a stage that begins from a checkpoint of another model."""
    if (start := spec.start(name)) is not None and found[start].model != found[name].model:
        raise ConfigError(
            f"stage {name}: it begins from {start}, whose model is {found[start].model.name}; give "
            f"{START}{BASE} or {START}STAGE in its list, or the same model"
        )


def _named(config: RunConfig) -> str:
    """The run_id of a stage. Raises ConfigError for files that make its name and are not there."""
    check_teacher(config.objective, config.model)
    try:
        return run_id(config)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; name a file that is there") from None


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
