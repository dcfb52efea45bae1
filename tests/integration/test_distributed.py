"""One run over two processes (FSDP2 on gloo) follows the run of one, and goes on from the other's state."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file

from harness.bases.pretrain import ensure_base
from harness.identity import run_folder
from harness.launch.compose import Composer
from harness.launch.execute import execute
from harness.records.lines import read_metrics
from harness.records.records import eval_paths, read_run
from harness.schema.run_config import ConfigError, RunConfig
from harness.training.batching import shared_microbatches
from harness.training.distributed import check_supported, destroy_process_group
from tests.reproducible import reproducible
from tests.unit.harness.training.test_batching import lengths_batch

NAMES = ("loss", "grad_norm", "reward", "kl", "kl_old", "entropy", "clip_frac", "kept_loss", "sampled_tokens")
# This base is never right: rewards that differ, so that there is a gradient. 5 prompts do not divide by 2.
LINES = (
    *(
        "experiment=smoke",
        "objective=grpo",
        "objective.reward.accuracy=0",
        "objective.reward.length_penalty=1",
    ),
    *("rollout.prompts_per_step=5", "trainer.steps=10", "trainer.lr=1e-3", "trainer.microbatch_tokens=300"),
    *("eval.splits=[test]", "trainer.checkpoint_every=4"),
)


def config_at(folder: Path, *overrides: str) -> RunConfig:
    return Composer().config([*LINES, f"output_dir={folder}", *overrides])


def quiet(phase: str, done: int, total: int, note: str = "") -> None:
    pass


def _process(rank: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    work(*arguments)


def over_two(work: Callable[..., None], *arguments: object) -> None:
    """What torchrun does, in processes that come from this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(_process, (port, work, arguments), nprocs=2, start_method="spawn")


def _execute(config: RunConfig, stop_at: int | None = None) -> None:
    from harness.training import trainer

    if stop_at is not None:
        original = trainer.sample_and_grade

        def stopping(run: object, step: int | None = None) -> object:
            if run.counters.step == stop_at:  # type: ignore[attr-defined]
                raise RuntimeError("stopped here")
            return original(run, step)  # type: ignore[arg-type]

        trainer.sample_and_grade = stopping  # type: ignore[assignment]
    outcome = execute(config, overrides=[], report=quiet)
    assert outcome == ("finished" if stop_at is None else "failed")


def _until(config: RunConfig, step: int) -> None:
    try:
        _execute(config, step)
    except RuntimeError:
        assert os.environ["RANK"] == "1"  # the first process records the failure, the others raise


def rows(config: RunConfig) -> list[dict[str, float]]:
    return [reproducible(row) for row in read_metrics(run_folder(config) / "metrics.jsonl")]


@pytest.mark.timeout(600)
def test_two_processes_follow_one_and_share_its_checkpoints(tmp_path: Path) -> None:
    one, two = config_at(tmp_path, "study=one"), config_at(tmp_path, "study=two")
    ensure_base(one, quiet)
    assert execute(one, overrides=[], report=quiet) == "finished"
    over_two(_until, two, 5)  # it has the state of step 4
    assert read_run(run_folder(two)).status == "failed"
    over_two(_execute, two)
    expected, found = rows(one), rows(two)
    assert len(expected) == len(found) == 10
    assert any(row["grad_norm"] > 1e-3 for row in expected)
    for a, b in zip(expected, found, strict=True):
        for name in NAMES:
            if name in a:
                # Stated tolerance: float32 sums in another order, through ten updates.
                assert b[name] == pytest.approx(a[name], rel=2e-3, abs=2e-5), (a["step"], name)
    record = read_run(run_folder(two))
    assert record.status == "finished" and record.hardware["processes"] == 2 and record.num_resumes == 1
    for name in ("sampled", "trained"):
        assert record.tokens[name] == read_run(run_folder(one)).tokens[name]
    assert len(eval_paths(run_folder(two))) == len(eval_paths(run_folder(one))) > 0
    assert [json.loads(x)["step"] for x in (run_folder(two) / "metrics.jsonl").read_text().splitlines()] == [
        *range(1, 11)
    ]


@pytest.mark.timeout(600)
def test_two_processes_agree_that_a_step_without_a_token_moves_nothing(tmp_path: Path) -> None:
    # Every output is cut after 3 tokens and masked; a KL and weight decay would move the weights.
    lines = ("rollout.max_new_tokens=3", "objective.truncated=mask", "objective.kl.coef=0.1")
    config = config_at(tmp_path, *lines, "trainer.steps=2", "trainer.weight_decay=0.1")
    base = ensure_base(config, quiet)
    over_two(_execute, config)
    assert [(row["truncated"], row["updates"]) for row in rows(config)] == [(1.0, 0.0)] * 2
    last = run_folder(config) / "checkpoints" / "step_000002" / "model.safetensors"
    start, end = load_file(base / "model" / "model.safetensors"), load_file(last)
    assert start.keys() == end.keys() and all(torch.equal(start[name], end[name]) for name in start)


@pytest.mark.timeout(600)
def test_one_process_goes_on_from_the_state_of_two(tmp_path: Path) -> None:
    whole, moved = config_at(tmp_path, "study=whole"), config_at(tmp_path, "study=moved")
    ensure_base(whole, quiet)
    assert execute(whole, overrides=[], report=quiet) == "finished"
    over_two(_until, moved, 5)
    assert execute(moved, overrides=[], report=quiet) == "finished"
    for a, b in zip(rows(whole), rows(moved), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=2e-3, abs=2e-5), a["step"]
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=2e-3), a["step"]


def test_what_needs_one_process_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = Composer().config
    check_supported(compose([*LINES]), 2)
    for line, name in (
        ("objective=ppo", "objective.value"),
        ("objective=sft_rejection_offline", "objective.offline"),
        ("objective=rlhf_ppo", "objective.reward_model"),
        ("trainer.on_oom=halve_microbatch", "trainer.on_oom"),
        ("rollout.engine=vllm", "rollout.engine=vllm"),
    ):
        with pytest.raises(ConfigError, match=name):
            check_supported(compose(["experiment=smoke", line]), 2)


def test_the_command_refuses_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.launch.run import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*LINES, "rollout.engine=vllm", f"output_dir={tmp_path}/out"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "rollout.engine=vllm: not supported over 2 processes; run it in one" in line
    assert not (tmp_path / "out").exists()


def test_shares_are_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.training import distributed

    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    found = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        first, items = rank_slice("abcdefg")
        assert first == len(found)
        found += items
    assert found == list("abcdefg")


def test_microbatches_are_dealt_out_once_and_equally_many() -> None:
    batch = lengths_batch([9, 3, 7, 5, 8])
    rows = torch.tensor([0, 1, 2, 4])
    shares = [shared_microbatches(batch, token_budget=9, rows=rows, rank=r, world_size=3) for r in range(3)]
    assert len({len(part) for part in shares}) == 1
    counted = sorted(int(i) for part in shares for micro, counts in part if counts for i in micro)
    assert counted == [0, 1, 2, 4]
    # 9 8 7 3 by length: the first process has 9 and 3, in two microbatches; the others repeat the shortest.
    assert [[(m.tolist(), c) for m, c in part] for part in shares] == [
        [([0], True), ([1], True)],
        [([4], True), ([1], False)],
        [([2], True), ([1], False)],
    ]
    alone = shared_microbatches(batch, token_budget=18, rows=rows, rank=0, world_size=1)
    assert [m.tolist() for m, _ in alone] == [[0, 4], [2, 1]] and all(counts for _, counts in alone)


def test_a_run_of_one_process_leaves_another_librarys_group_alone(tmp_path: Path) -> None:
    """vLLM, which lives on from run to run, makes one of its own process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        destroy_process_group()
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()
