"""Read files that may be damaged: an error names the file, what is wrong and what mends it. No torch."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from harness.records.published import Damaged, unseal

T = TypeVar("T")
# What a terminal acts on and XML forbids; line breaks and tabs are text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# The same in a JSON file, written out or escaped. A few innocent characters match too: `visible` decides.
_IN_JSON = re.compile(rb"\\u00[01789]|\\u[fF]{3}|\\[bfr]|\x7f|\xc2[\x80-\x9f]|\xef\xbf[\xbe\xbf]")


class RecordError(Damaged):
    """A file that cannot be read: `what` names it and says why, the rest of the message what mends it."""


def read_file(path: Path, *, remedy: str) -> bytes:
    """Bytes of a regular file. Raises RecordError for anything else: opening a pipe would block for ever."""
    try:
        if not path.is_file() and path.exists():
            raise RecordError(f"{path}: not a file", f"delete it, then {remedy}")
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})", remedy) from None


def read_json(path: Path, kind: type[T], *, remedy: str) -> T:
    """Content of a JSON file as `kind`: a pydantic model, `list[str]`, a TypedDict, whatever pydantic checks.

    Control characters in it come back written out, as `\\x1b`: what a record says ends on a terminal and in
    figures. Raises RecordError; deep nesting and numbers of 5,000 digits are no other error than a typo.
    """
    data, adapter = read_file(path, remedy=remedy), _adapter(cast(Any, kind))
    try:
        data = unseal(path, data)
        plain = b"\\" not in data and b"\x7f" not in data and data.isascii()  # quicker than the search
        if not plain and _IN_JSON.search(data):
            found: T = adapter.validate_python(_visible_in(from_json(data)))
        else:
            found = adapter.validate_json(data)
        return found
    except ValidationError as error:
        raise RecordError(f"{path}: {reason_of(error)}", remedy) from None
    except Damaged as error:
        raise RecordError(error.what, remedy) from None
    except ValueError as error:
        raise RecordError(f"{path}: not valid JSON ({error})", remedy) from None


def reason_of(error: ValidationError) -> str:
    """`arms.0.label: field required`: what is wrong first, in a line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = visible(".".join(map(str, first["loc"])))[:80]
    if first["type"] == "json_invalid":
        return f"not valid JSON ({first['ctx']['error']})"
    if not where and first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return "not a JSON object"
    text = first["msg"].removeprefix("Value error, ")
    message = text[:1].lower() + text[1:]
    return f"{where}: {message}" if where else message


def visible(text: str) -> str:
    """Text with control characters written out: `\\x1b` in place of the escape that a terminal would obey."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _visible_in(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _visible_in(inner) for key, inner in value.items()}
    return [_visible_in(inner) for inner in value] if isinstance(value, list) else value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
