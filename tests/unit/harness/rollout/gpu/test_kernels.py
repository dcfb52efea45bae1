"""The GPU's kernels, without a GPU: slow, so on tiny tensors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["interpreted_kernels", "interpreted_exact", "interpreted_waiting"])
def test_kernels_and_slot_decoding_equal_pytorch_and_the_cpu_engine(name: str) -> None:
    pytest.importorskip("triton", reason="needs Triton, which runs its kernels on a CPU too")
    command = [sys.executable, "-m", f"tests.unit.harness.rollout.gpu.{name}"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and done.stdout == "equal\n", done.stderr[-2000:]


def test_kernels_compile_for_gpus_that_are_not_here(tmp_path: Path) -> None:
    """To machine code, with an assembler: what the interpreter takes may not be Triton's language."""
    pytest.importorskip("triton", reason="needs Triton")
    command = [sys.executable, "-W", "ignore", "-m", "tests.unit.harness.rollout.gpu.compiled_kernels"]
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and done.stdout == "compiled\n", done.stderr[-2000:]
