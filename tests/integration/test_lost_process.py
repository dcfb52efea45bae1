"""A process that dies or stops ends the others of its run soon, the record says so, and the run resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.bases.pretrain import ensure_base
from harness.identity import run_folder
from harness.launch.compose import Composer
from harness.records.lines import read_metrics
from harness.records.records import read_run
from harness.schema.run_config import RunConfig
from tests.ranks import LINES, REWARD, quiet
from tests.structure import ROOT

LIMIT = 4.0  # seconds; the default is 60
SETTINGS = (*LINES, *REWARD, "device=cpu", "eval.splits=[]", "trainer.steps=60", "trainer.checkpoint_every=1")


def launched(config_lines: list[str]) -> subprocess.Popen[bytes]:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "harness"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *command, *config_lines], env=environment, cwd=ROOT)


def process_of(parent: int, rank: int) -> int:
    """The process number of one of torchrun's processes."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_child = f"\nPPid:\t{parent}\n" in (place / "status").read_text()
            if is_child and f"RANK={rank}".encode() in (place / "environ").read_bytes().split(b"\0"):
                return int(place.name)
        except OSError:
            continue
    raise AssertionError(f"no process {rank} of {parent}")


def wait_until(done: object, seconds: float) -> float:
    """Seconds that it took, in which `done()` became true."""
    start = time.monotonic()
    while not done():
        assert time.monotonic() - start < seconds
        time.sleep(0.2)
    return time.monotonic() - start


def steps(config: RunConfig) -> int:
    path = run_folder(config) / "metrics.jsonl"
    return len(read_metrics(path)) if path.exists() else 0


def is_failed(config: RunConfig) -> bool:
    return read_run(run_folder(config)).status == "failed"


@pytest.mark.timeout(400)
def test_a_process_that_stops_or_dies_ends_the_others_and_the_run_resumes(tmp_path: Path) -> None:
    lines = [*SETTINGS, f"output_dir={tmp_path}", f"trainer.rank_timeout={LIMIT}"]
    config = Composer().config([*lines, "trainer.processes=2"])
    assert run_folder(config) != run_folder(Composer().config(lines))
    ensure_base(config, quiet)
    for strike, rank in ((signal.SIGSTOP, 1), (signal.SIGSTOP, 0), (signal.SIGKILL, 1), (signal.SIGKILL, 0)):
        before = steps(config)
        parent = launched(lines)
        wait_until(lambda before=before: steps(config) > before + 1, 120)
        struck, other = (process_of(parent.pid, r) for r in (rank, 1 - rank))
        os.kill(struck, strike)
        gone = wait_until(lambda other=other: not Path(f"/proc/{other}/exe").exists(), 60)
        assert gone < LIMIT + 15
        wait_until(lambda: is_failed(config), 10)
        reason = read_run(run_folder(config)).reason or ""
        if strike == signal.SIGSTOP:
            assert f"process {rank} of 2 gave no sign of life for 4 s; launch again to go on" in reason
            os.kill(struck, signal.SIGKILL)  # torchrun itself waits 30 s for it
        else:
            assert "another of 2 processes is gone" in reason
        assert parent.wait(timeout=60) == 1
    reached = steps(config)
    assert reached < 60, "it had finished before it was struck"
    assert launched([*lines, "trainer.steps=60"]).wait(timeout=200) == 0
    record = read_run(run_folder(config))
    assert record.status == "finished" and record.num_resumes == 4 and steps(config) == 60
