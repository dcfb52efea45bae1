"""What a study declared before its first run, and each later declaration that says otherwise.

    outputs/<study>/declaration.json  {"entries": [{"time": …, "runs_started": 0, "sha256": …, "content": …}]}

Entries are added and never changed. `sha256` is that of the content as canonical JSON (sorted keys, no
spaces), so that a copy kept elsewhere, as in a preregistration, can be compared. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from harness.records.fields import Count
from harness.records.reading import RecordError, read_json

FILE = "declaration.json"


class Entry(BaseModel):
    """One declaration, and how many of the study's runs had started and finished when it was made."""

    time: str
    commit: str | None = None
    runs_started: Count
    runs_finished: Count
    sha256: str
    content: dict[str, Any]


class Declaration(BaseModel):
    """Every declaration of a study, the first one first."""

    entries: list[Entry] = Field(min_length=1)


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 of a declaration's canonical JSON, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_declaration(study: Path) -> Declaration | None:
    """The declarations of a study's folder, None without any. Raises RecordError for a damaged one."""
    path = study / FILE
    if not path.exists():
        return None
    remedy = "restore it from a copy; without it the study counts as not declared beforehand"
    found = read_json(path, Declaration, remedy=remedy)
    for number, entry in enumerate(found.entries, start=1):
        if entry.sha256 != content_hash(entry.content):
            raise RecordError(f"{path}: entry {number} is not what its sha256 was taken of", remedy)
    return found
