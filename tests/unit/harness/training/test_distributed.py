"""What several processes share and how it is dealt out, without starting any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from harness.launch.compose import Composer
from harness.schema.run_config import ConfigError
from harness.training.batching import shared_microbatches
from harness.training.distributed import check_supported, destroy_process_group, gather_strided, stride
from harness.training.parallel import check_placement
from harness.types import Prompt, Rollout, SamplingParams
from tests.ranks import LINES, PLACEMENTS
from tests.unit.harness.training.test_batching import lengths_batch


def test_what_several_processes_cannot_share_is_refused_with_its_name() -> None:
    compose = Composer().config
    check_supported(compose([*LINES]), 2)
    with pytest.raises(ConfigError, match=r"rollout\.engine=vllm: not supported over 2 processes"):
        check_supported(compose(["experiment=smoke", "rollout.engine=vllm"]), 2)
    for line, name in (
        ("trainer.on_oom=halve_microbatch", "trainer.on_oom"),
        ("trainer.lora={rank: 4, alpha: 8}", "trainer.lora"),
        ("trainer.optimizer=adamw_8bit", "trainer.optimizer=adamw_8bit"),
        ("objective=ppo", "objective.value"),
    ):
        config = compose(["experiment=smoke", line, "trainer.parallel=sharded"])
        check_placement(config, PLACEMENTS["replicas"])
        with pytest.raises(ConfigError, match=f"{name}.* set trainer.parallel=replicas"):
            check_placement(config, PLACEMENTS["sharded"])


def test_the_command_refuses_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.launch.run import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*LINES, "rollout.engine=vllm", f"output_dir={tmp_path}/out"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "rollout.engine=vllm: not supported over 2 processes; run it in one" in line
    assert not (tmp_path / "out").exists()


def test_shares_are_dealt_out_in_turn_and_put_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.training import distributed

    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    dealt = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        dealt.append(list(stride("abcdefg")))
    assert dealt == [["a", "d", "g"], ["b", "e"], ["c", "f"]]

    def gathered(boxes: list[Any], own: list[str], group: object) -> None:
        boxes[:] = dealt

    monkeypatch.setattr(dist, "all_gather_object", gathered)
    assert "".join(gather_strided(dealt[0])) == "abcdefg"


def test_microbatches_are_dealt_out_back_and_forth() -> None:
    batch = lengths_batch([9, 3, 7, 5, 8])
    rows = torch.tensor([0, 1, 2, 4])

    def shares(**how: Any) -> list[list[tuple[list[int], bool]]]:
        found = [
            shared_microbatches(batch, token_budget=9, rows=rows, rank=r, world_size=3, **how)
            for r in range(3)
        ]
        return [[(micro.tolist(), counts) for micro, counts in part] for part in found]

    # 9 8 7 3 by length: the third process has 7 and, as the deal turns round, 3.
    assert shares(in_step=False) == [[([0], True)], [([4], True)], [([2], True), ([1], True)]]
    # In step, the others repeat the shortest row, which does not count.
    idle = ([1], False)
    assert shares() == [[([0], True), idle], [([4], True), idle], [([2], True), ([1], True)]]
    few = shared_microbatches(batch, token_budget=9, rows=rows[:1], rank=2, world_size=3, in_step=False)
    assert [(m.tolist(), counts) for m, counts in few] == [([0], False)]  # all have a gradient
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


def test_an_engine_of_several_processes_takes_its_turns_and_numbers_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Process 1 of 2 asks its engine for every second request, and hears of them by their own places."""
    from harness.training import distributed, shared_engine

    asked: list[Any] = []

    class Engine:
        def generate(self, prompts: Any, **how: Any) -> list[Rollout]:
            asked.append([p.text for p in prompts] + list(how["seeds"]) + list(how["limits"]))
            for i in range(len(prompts)):
                how["on_end"](i, [i])
            return [
                Rollout(p.problem_id, 0, (1,), str(s), None, "stop")
                for p, s in zip(prompts, how["seeds"], strict=True)
            ]

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    others = [Rollout("a", 0, (1,), "10", None, "stop"), Rollout("b", 0, (1,), "12", None, "stop")]
    monkeypatch.setattr(
        dist, "all_gather_object", lambda boxes, own, group: boxes.__setitem__(slice(None), [others, own])
    )
    heard: list[tuple[int, list[int]]] = []
    prompts = [Prompt(problem, "", f"{problem}{i}", (1,)) for i, problem in enumerate("aabb")]
    found = shared_engine.SharedEngine(Engine()).generate(
        prompts,
        params=SamplingParams(max_new_tokens=9),
        seeds=[10, 11, 12, 13],
        limits=[1, 2, 3, 4],
        on_end=lambda place, tokens: heard.append((place, tokens)),
    )
    assert asked == [["a1", "b3", 11, 13, 2, 4]]
    assert heard == [(1, [0]), (3, [1])]
    assert [(r.problem_id, r.sample_idx, r.text) for r in found] == [
        ("a", 0, "10"),
        ("a", 1, "11"),
        ("b", 0, "12"),
        ("b", 1, "13"),
    ]
