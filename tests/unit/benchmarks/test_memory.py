"""The memory benchmark at small sizes: the plain way computes the same, and takes more where V is large."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from harness.model.policy import token_logprobs
from harness.model.rows import pack_rows
from tests.benchmarks.memory import main, plain
from tests.unit.harness.model.test_policy import LLAMA, random_policy


def test_the_plain_way_computes_the_same() -> None:
    policy, ids = random_policy(LLAMA), torch.tensor([[3, 9, 4, 7]])
    wanted = torch.tensor([[False, True, True, True]])
    rows = pack_rows(ids, torch.tensor([4]), wanted, device="cpu")
    ours, _ = token_logprobs(policy, rows, temperature=1.0)
    torch.testing.assert_close(plain(policy, rows), ours[0, 1:])


def test_memory_on_a_cpu(tmp_path: Path) -> None:
    sizes = ["--vocab", "16384", "--lengths", "2048"]
    main(["--device", "cpu", "--shape", "ladder_l", *sizes, "--json", str(tmp_path / "memory.json")])
    rows = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert [row["by"] for row in rows] == ["vocabulary", "length"]
    # The plain way keeps logits and their log-softmax, [2047, 16384] float32: 0.13 GB each.
    assert all(row["plain_gb"] > row["ours_gb"] + 0.13 for row in rows)
