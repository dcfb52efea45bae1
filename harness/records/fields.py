"""Fields of records as they are checked when a file is read. Imports no torch."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, with_config
from typing_extensions import TypedDict

from harness.records.reading import visible


def _folder_name(text: str) -> str:
    """A name from a file becomes part of a path: it may not lead elsewhere."""
    if not text or "/" in text or text in (".", "..") or visible(text) != text or len(text.encode()) > 255:
        raise ValueError("not the name of a folder")
    return text


def _rate(text: str) -> str:
    """A learning rate as text: figures put it on an axis."""
    if not 0 < float(text) < inf:
        raise ValueError("not a learning rate")
    return text


def _checked_as(kind: Any) -> GetPydanticSchema:
    """Check a dictionary as `kind`, a TypedDict, whose fields may be missing and others present."""
    return GetPydanticSchema(lambda _, handler: handler(kind))


FolderName = Annotated[str, AfterValidator(_folder_name)]
Count = Annotated[int, Field(ge=0, lt=2**63)]  # as large as a column of a frame can hold
Bit = Annotated[int, Field(ge=0, le=1)]
Rate = Annotated[str, AfterValidator(_rate)]
Seed = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]


@with_config(ConfigDict(extra="allow"))
class CodeFields(TypedDict, total=False):
    """What `code_state` found."""

    version: str | None
    commit: str | None
    dirty: bool | None


@with_config(ConfigDict(extra="allow"))
class PrimaryFields(TypedDict, total=False):
    """The comparison that a study was made for; see `Primary` in harness/launch/ablation.py."""

    factor: str | None
    criterion: str
    contrast: str | None
    null_gain: float | None
    path: list[str] | None
    task: str | None
    split: str | None
    metric: str
    level: float


class ShareFields(TypedDict):
    """A margin as a share of the control's gain."""

    share: Annotated[float, Field(gt=0, lt=1)]


@with_config(ConfigDict(extra="allow"))
class DeclaredFields(TypedDict, total=False):
    """What a study declared besides; see DECLARED in harness/launch/study.py."""

    fixed: list[str] | None
    family: list[str] | None
    nulls: list[str] | None
    ceiling: str | None
    checkpoint: str
    margin: float | ShareFields | None
    lr_grid: dict[str, Any] | None
    draws: str
    pairing: str
    match: str | None
    matched: list[dict[str, Any]] | None
    absent: dict[str, list[str]] | None
    until: dict[str, Any] | None


class PilotFields(TypedDict):
    """One arm's learning rates; see `RateChoice` in harness/launch/pilot.py."""

    arm: str
    tried: dict[Rate, dict[str, float]]
    chosen: float
    edge: NotRequired[bool]


Code = Annotated[dict[str, Any], _checked_as(CodeFields)]
Primary = Annotated[dict[str, Any], _checked_as(PrimaryFields)]
Declared = Annotated[dict[str, Any], _checked_as(DeclaredFields)]
PilotRow = Annotated[dict[str, Any], _checked_as(PilotFields)]
