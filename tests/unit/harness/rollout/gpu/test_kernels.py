"""The GPU's kernels, without a GPU: slow, so on tiny tensors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def test_kernels_and_slot_decoding_equal_pytorch_and_the_cpu_engine() -> None:
    pytest.importorskip("triton", reason="needs Triton, which runs its kernels on a CPU too")
    command = [sys.executable, "-m", "tests.unit.harness.rollout.gpu.interpreted_kernels"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and done.stdout == "equal\n", done.stderr[-2000:]
