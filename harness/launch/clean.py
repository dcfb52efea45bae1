"""`python -m harness clean STUDY`: remove the failed runs of a study, once it was asked. Imports no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.launch.options import Parser
from harness.records.locks import Held, hold
from harness.records.published import remove, sync, temporary_of
from harness.records.reading import RecordError, visible
from harness.records.records import RunRecord, read_run, run_folders

_DESCRIPTION = """Remove the folders and logs of a study's failed runs. Finished, interrupted and running ones
stay, and so do bases. Launching the study again makes them anew."""
_COLUMNS = 80


def main(arguments: Sequence[str]) -> int:
    """Ask, then remove. Raises ValueError for a folder without runs, or where nobody can be asked."""
    parser = Parser(prog="python -m harness clean", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "study", metavar="STUDY", help="a study's folder, or its name in the folder of results"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--outputs", type=Path, default=Path("outputs"), metavar="DIR", help="folder of results (outputs)"
    )
    options = parser.parse_args(list(arguments))
    study = _study(options.study, options.outputs)
    failed = failed_runs(study)
    if not failed:
        print(f"{study}: no failed run; nothing to remove")
        return 0
    for folder, record in failed.items():
        line = f"{folder.name}  {visible(' '.join((record.reason or 'no reason recorded').split()))}"
        print(line if len(line) <= _COLUMNS else f"{line[: _COLUMNS - 1]}…")
    count = f"{len(failed)} failed run{'s' * (len(failed) > 1)}"
    size = sum(p.stat().st_size for folder in failed for p in folder.rglob("*") if p.is_file()) / 1e6
    if not options.yes and not _agreed(f"remove {count} of {study} ({size:.1f} MB)? [y/N] "):
        print("nothing removed")
        return 0
    removed = [folder for folder in failed if _removed(study, folder)]
    print(f"{study}: {len(removed)} of {count} removed; launch the study again to make them anew")
    return 0


def _study(name: str, outputs: Path) -> Path:
    for folder in (Path(name), outputs / name):
        if folder.is_dir() and run_folders(folder):
            return folder
    raise ValueError(f"{name}: no study with runs there; name its folder, or --outputs DIR")


def failed_runs(study: Path) -> dict[Path, RunRecord]:
    """Folders of a study's failed runs, with their records; a damaged record says nothing, and stays."""
    found = {}
    for folder in run_folders(study):
        try:
            record = read_run(folder)
        except RecordError as error:
            print(f"left: {visible(error.what)}", file=sys.stderr)
            continue
        if record.status == "failed":
            found[folder] = record
    return found


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ValueError("there is nobody to ask here; --yes removes them without asking")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _removed(study: Path, folder: Path) -> bool:
    """Remove a run that is still failed and that no process holds, and its log."""
    try:
        with hold(folder):
            if read_run(folder).status != "failed":
                print(f"left: {folder.name}: launched again meanwhile", file=sys.stderr)
                return False
            aside = temporary_of(folder)
            os.rename(folder, aside)  # at once: a launch sees a whole run or none
    except (Held, RecordError) as error:
        print(f"left: {visible(str(error))}", file=sys.stderr)
        return False
    sync(study)
    remove(aside)
    remove(study / "logs" / f"{folder.name}.txt")
    return True
