"""The base of every part of the schema: a frozen section, its number types, its table of checks. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what tables and checkpoints hold as 64 bits
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
T = TypeVar("T")


@dataclass(frozen=True)
class Check(Generic[T]):
    """Settings that do not go together: when they are met, and what to say then.

    `message` is a format string in which `c` is the config: "seed={c.seed}: choose another".
    """

    when: Callable[[T], object]
    message: str


@dataclass(frozen=True)
class Used(Generic[T]):
    """Settings that only some runs read: when `when(section, run)` holds, and what to say otherwise.

    `otherwise` is a format string in which `c` is the section and `run` the run. `idle`: values that presets
    set where nothing reads them, beside the defaults. `warn`: of something switched off, no error.
    """

    fields: tuple[str, ...]
    when: Callable[[T, Any], object]
    otherwise: str
    idle: tuple[object, ...] = ()
    warn: bool = False


def messages(checks: Iterable[Check[T]], config: T) -> Iterator[str]:
    """Yield the message of each check that applies to `config`, in the order of the table."""
    for check in checks:
        if check.when(config):
            yield check.message.format(c=config)


class Section(BaseModel):
    """A group of settings: unknown fields are errors, values are finite and never change.

    The first of `checks` that applies is a ValueError; `used` is read by harness/schema/unread.py; fields in
    `composed` are given as a name or by the launch, and their parts are not set one by one. A string
    literal under each field says what it means.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
    checks: ClassVar[tuple[Check[Any], ...]] = ()
    used: ClassVar[tuple[Used[Any], ...]] = ()
    composed: ClassVar[tuple[str, ...]] = ()

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `seed=true`, which Python would take for 1."""
        inner = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in inner):
            kind = str(cls.model_fields[info.field_name or ""].annotation)
            if "bool" not in kind and "Any" not in kind:
                raise PydanticCustomError("truth_value", "true and false are no numbers or texts; give one")
        return value

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        for message in messages(self.checks, self):
            raise ValueError(message)
        return self


def sections_in(annotation: Any) -> list[type[Section]]:
    """The sections that a field's annotation names, alone or in a union."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for inner in get_args(annotation) for found in sections_in(inner)]
