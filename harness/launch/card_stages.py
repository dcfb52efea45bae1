"""The section of a model card on a pipeline's stages: what each was, and what it began from. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from harness.records.reading import RecordError
from harness.records.records import RunRecord, read_run
from harness.schema.run_config import RunConfig


@dataclass(frozen=True)
class EarlierStage:
    """A run that an exported one comes from; `record` and `config` None where they are gone or unreadable."""

    run_id: str
    record: RunRecord | None
    config: RunConfig | None


def earlier_stages(run: Path, config: RunConfig) -> list[EarlierStage]:
    """The stages that a run comes from, in order, those of its teachers included; each once."""
    found: dict[str, EarlierStage] = {}
    for name in config.waits_for:
        stage = _stage(run.with_name(name), name)
        if stage.config is not None:
            found |= {each.run_id: each for each in earlier_stages(run, stage.config)}
        found.setdefault(name, stage)
    return list(found.values())


def _stage(folder: Path, run_id: str) -> EarlierStage:
    try:
        record = read_run(folder)
        return EarlierStage(run_id, record, RunConfig.model_validate(record.config))
    except (RecordError, ValidationError):
        return EarlierStage(run_id, None, None)


def stage_lines(
    before: Sequence[EarlierStage], record: RunRecord, config: RunConfig, step: int
) -> Iterator[str]:
    """A table with a row for each stage; nothing for a run that is no pipeline's.

    `step` is the exported one of the run itself.
    """
    if config.stage is None:
        return
    own = EarlierStage(record.run_id, record, config)
    names = {each.run_id: _name(each) for each in (*before, own)}
    yield f"Pipeline `{config.stage.pipeline}`. Each stage is a run of its own; the optimiser begins anew."
    yield ""
    yield "| stage | objective | problems | steps | begins from | run |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in (*before, own):
        if each.record is None or each.config is None:
            yield f"| ? | — | — | — | — | `{each.run_id}` (its record is gone) |"
            continue
        steps = step if each is own else each.record.steps_done
        start = names.get(each.config.start or "", f"the base `{each.record.base_id}`")
        start += f"; learns from {taught}" if (taught := _teacher(each, names)) else ""
        cells = (f"`{each.config.objective.name}`", f"`{each.config.data.name}`", str(steps), start)
        yield f"| {names[each.run_id]} | {' | '.join(cells)} | `{each.run_id}` |"


def _name(stage: EarlierStage) -> str:
    place = None if stage.config is None else stage.config.stage
    return f"`{stage.run_id}`" if place is None else place.name


def _teacher(stage: EarlierStage, names: dict[str, str]) -> str | None:
    """The teacher of a stage, by its stage, its model or its folder's name; None without one."""
    assert stage.config is not None
    if (teacher := stage.config.objective.teacher) is None:
        return None
    if stage.config.taught_by is not None:
        return names.get(stage.config.taught_by, f"`{stage.config.taught_by}`")
    if teacher.path is not None:
        return f"the model `{Path(teacher.path).name}`"
    made = "" if stage.record is None else f" `{stage.record.teacher_id}`"
    return f"the base{made}"
