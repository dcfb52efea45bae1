"""Damaged files: every file of a run, its base and its study, cut, emptied, flipped, replaced or removed."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

from tests.campaign.runs import (
    Ended,
    Verdict,
    Work,
    command,
    differences,
    evidence,
    last_line,
    launch,
    once,
    pick,
    table,
)

HOW = ("truncate", "empty", "flip", "garbage", "null", "directory", "delete")
# No number comes from them: they are for readers, or checksums, without which a file is read unchecked.
UNREAD = ("config.yaml", "data.json", ".lock", "base.json", "error.txt", "manifest.json", ".sha256")
VARIANTS = ("grpo", "ppo", "offline", "rerank")


def damage(work: Work, seed: int) -> Verdict:
    """Damage one file, launch again (also with another evaluation), read the study; apply what is advised."""
    dice = random.Random(f"damage {seed}")
    variant, state = pick(dice, VARIANTS), pick(dice, ("finished", "interrupted"))
    source = work.reference(variant) if state == "finished" else work.interrupted(variant)
    outputs = work.fresh(seed, source)
    files = sorted(p for p in outputs.rglob("*") if p.is_file() and p.name != ".lock")
    path, how = dice.choice(files), pick(dice, HOW)
    harm(path, how, dice)
    name = path.relative_to(outputs).as_posix()
    outcome, detail = _judged(work, variant, outputs, name)
    return Verdict("damage", seed, f"{state} {variant}: {how} {name}", outcome, detail)


def harm(path: Path, how: str, dice: random.Random) -> None:
    """Do one kind of damage to a file."""
    data = path.read_bytes()
    if how == "flip" and data:
        at = dice.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :])
    elif how in ("directory", "delete"):
        path.unlink()
        if how == "directory":
            path.mkdir()
    else:
        path.write_bytes(
            {
                "truncate": data[: len(data) // 2],
                "garbage": dice.randbytes(max(len(data), 16)),
                "null": b"null",
            }.get(how, b"")
        )


def _judged(work: Work, variant: str, outputs: Path, name: str) -> tuple[str, str]:
    expected = evidence(_both(work, variant))
    ends = _read_all(variant, outputs)
    text = "\n".join(end.text for end in ends)
    if bad := _crashed(ends):
        return bad
    different = differences(evidence(outputs), expected)
    if not different and all(end.code == 0 for end in ends):
        return "identical", ""
    line = next((line for line in text.splitlines() if name in line or _folder(name) in line), "")
    if line:
        return _remedied(line, variant, outputs, expected)
    if (
        different in ([], [name])
        and (name.endswith(UNREAD) or "/rollouts/" in name)
        and all(end.code == 0 for end in ends)
    ):
        return "unread", ""
    failed = next((end for end in ends if end.code != 0), None)
    return ("lost", last_line(failed)) if failed else ("wrong number", ", ".join(different[:4]))


def _both(work: Work, variant: str) -> Path:
    """A run that nothing struck, evaluated in both ways."""

    def both(outputs: Path) -> None:
        shutil.copytree(work.reference(variant), outputs)
        ended = launch(command(variant, outputs, "eval.k=3"))
        assert ended.code == 0, ended.text[-2000:]

    return once(work.folder / "reference" / f"{variant}-both", both)


def _read_all(variant: str, outputs: Path) -> list[Ended]:
    """Launch again, evaluate in another way, which reads the weights, and print the study's table."""
    first = launch(command(variant, outputs))
    return [first, launch(command(variant, outputs, "eval.k=3")), table(outputs / "s")]


def _crashed(ends: list[Ended]) -> tuple[str, str] | None:
    for end in ends:
        if end.hung:
            return "hang", last_line(end)
        if end.traceback or end.code < 0 or end.code == 70:
            return "traceback", last_line(end)
    return None


def _folder(name: str) -> str:
    return name.rpartition("/")[0] + " " if name.count("/") > 1 else "\0"


def _remedied(line: str, variant: str, outputs: Path, expected: dict[str, object]) -> tuple[str, str]:
    """Do what the line advises: delete the path that it names, if it says so, and launch again."""
    if re.search(r"delet|remov", line):
        named = [Path(word.strip("'\"`:;,.()")) for word in line.split() if str(outputs) in word]
        for path in [p for p in named if p.exists()][-1:]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    ends = _read_all(variant, outputs)
    if bad := _crashed(ends):
        return bad
    different = differences(evidence(outputs), expected)
    if different or any(end.code for end in ends):
        return "no remedy", f"{line[:200]} -> {', '.join(different[:3]) or last_line(ends[0])}"
    return "named", line[:200]
