"""Disks: one that fills up, and one whose power is cut. Both need root; power cuts need loop devices."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.campaign.runs import (
    VARIANTS,
    Verdict,
    Work,
    command,
    compared,
    last_line,
    launch,
    pick,
    until_done,
)

SIZE = 64  # MiB of an image


def why_no_mounts() -> str:
    """Why disks cannot be made here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root"
    try:
        with _tmpfs(Path("/tmp/campaign-probe"), "size=1m"):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"tmpfs cannot be mounted: {error}"


def why_no_loops() -> str:
    """Why power cuts cannot be made here; empty where they can."""
    if why := why_no_mounts():
        return why
    if shutil.which("mkfs.ext4") is None:
        return "no mkfs.ext4"
    return "" if subprocess.run(["losetup", "-f"], capture_output=True).returncode == 0 else "no loop device"


def full(work: Work, seed: int) -> Verdict:
    """Run on a disk with too little space or too few inodes, make room, launch again."""
    dice = random.Random(f"full {seed}")
    variant = pick(dice, list(VARIANTS))
    reference, base = work.reference(variant), work.reference("grpo") / "bases"
    used = sum(p.stat().st_size for p in base.rglob("*")) // 1024
    count = sum(1 for _ in base.rglob("*"))
    limit = (
        f"size={used * 2 + dice.randrange(20, 1500)}k"
        if dice.random() < 0.6
        else f"size=64m,nr_inodes={count + dice.randrange(3, 60)}"
    )
    place = work.folder / "mounts" / f"full-{seed}"
    with _tmpfs(place, limit):
        outputs = place / "outputs"
        try:
            work.copy_base(outputs)
        except (OSError, shutil.Error):
            shutil.rmtree(outputs, ignore_errors=True)  # the run makes its base, or fails at it
        first = launch(command(variant, outputs))
        what = f"{variant}: {limit}, exit {first.code}"
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=100000", str(place)], check=True)
        if first.code not in (0, 1) or first.hung or first.traceback:
            return Verdict("full", seed, what, "hang" if first.hung else "traceback", last_line(first))
        if first.code and "disk is full" not in first.text and "No space left" not in first.text:
            return Verdict("full", seed, what, "not named", last_line(first))
        outcome, detail = compared(until_done(command(variant, outputs)), outputs, reference)
    return Verdict("full", seed, what, outcome, detail)


def power(work: Work, seed: int) -> Verdict:
    """Copy a disk's image while a run goes on, or some seconds after its end, and go on from the copy."""
    dice = random.Random(f"power {seed}")
    variant, after = pick(dice, list(VARIANTS)), dice.random() < 0.5
    reference, folder = work.reference(variant), work.folder / "mounts"
    image, copy, place = (folder / f"power-{seed}{end}" for end in (".img", ".cut.img", ""))
    folder.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(SIZE * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    delay = dice.uniform(0, 30) if after and dice.random() < 0.4 else dice.uniform(0.0, 4.0)

    def cut(pid: int) -> None:
        time.sleep(delay)
        shutil.copyfile(image, copy)
        os.kill(pid, signal.SIGKILL)

    try:
        with _loop(image, place):
            if dice.random() < 0.5:  # a base of long ago
                work.copy_base(place / "outputs")
                os.sync()
            arguments = command(variant, place / "outputs")
            ended = launch(arguments, None if after else cut)
            if after:
                time.sleep(delay)
                shutil.copyfile(image, copy)
        with _loop(copy, place):
            outcome, detail = compared(until_done(arguments), place / "outputs", reference)
    finally:
        image.unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
    when = f"{delay:.1f} s {'after its end' if after else 'from its start'}"
    return Verdict("power", seed, f"{variant}: {when}, exit {ended.code}", outcome, detail)


@contextmanager
def _tmpfs(place: Path, options: str) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True, capture_output=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


@contextmanager
def _loop(image: Path, place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()
