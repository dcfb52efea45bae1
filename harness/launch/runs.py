"""Find a run that is on disk by its folder or its id. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from harness.records.published import BASES
from harness.records.records import run_folders
from harness.schema.explain import did_you_mean

RECORD = "run.json"


def find_run(name: str, outputs: Path) -> Path:
    """Folder of a run: `name` is that folder, STUDY/RUN_ID or a run id under `outputs`.

    Raises ValueError for a name that no run has, or runs of several studies.
    """
    for folder in (Path(name), outputs / name):
        if (folder / RECORD).is_file():
            return folder.absolute()
        if folder.is_dir() and (inside := run_folders(folder)):
            raise ValueError(f"{name}: a study of {len(inside)} runs; name one, as {inside[0]}")
    if "/" in name:
        raise ValueError(f"{name}: no run there (no {RECORD}); name a run's folder or its id")
    found = sorted(path.parent for path in outputs.glob(f"*/{name}/{RECORD}") if _is_run(path))
    if len(found) > 1:
        raise ValueError(f"{name}: {len(found)} studies have this run; name one, as {found[0]}")
    if not found:
        known = [path.parent.name for path in outputs.glob(f"*/*/{RECORD}") if _is_run(path)]
        where = f"no such run under {outputs}"
        hint = did_you_mean(name, sorted(set(known))) if known else "; name a run's folder, or --outputs DIR"
        raise ValueError(f"{name}: {where}{hint}")
    return found[0].absolute()


def _is_run(path: Path) -> bool:
    return path.parents[1].name != BASES
