"""One run over two processes (gloo) follows the run of one, and goes on from the other's state."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from harness.bases.pretrain import ensure_base
from harness.identity import base_folder, run_folder
from harness.records.records import eval_paths, read_eval, read_run, samples_of
from harness.schema.run_config import RunConfig
from tests.ranks import PLACEMENTS, config_at, free_port, over_two, quiet, rows, run_all, run_once

NAMES = (
    "loss",
    "grad_norm",
    "reward",
    "kl",
    "kl_old",
    "entropy",
    "clip_frac",
    "sampled_tokens",
    "value_loss",
)
KEPT = ("kept_loss", "kept_kl_forward", "kept_kl_reverse")


def assert_follows(one: RunConfig, two: RunConfig, *, steps: int) -> None:
    expected, found = rows(one), rows(two)
    assert len(expected) == len(found) == steps
    assert any(row["grad_norm"] > 1e-3 for row in expected)
    for a, b in zip(expected, found, strict=True):
        assert a.keys() == b.keys()
        for name in (*NAMES, *KEPT):
            if name in a:
                # Stated tolerance: float32 sums in another order, through as many updates.
                assert b[name] == pytest.approx(a[name], rel=2e-3, abs=2e-5), (a["step"], name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_two_processes_follow_one_through_a_failure(placement: str, tmp_path: Path) -> None:
    kl = "objective.kl={estimator: k3, placement: loss, coef: 0.05, refresh_every: 3}"
    lines = (kl, "objective.updates={epochs: 1, minibatches: 2}", "eval.at_steps=[2]")
    one, two = config_at(tmp_path, *lines, "study=one"), config_at(tmp_path, *lines, "study=two")
    ensure_base(one, quiet)
    run_once(one)
    over_two(run_once, two, 5, placement)  # it has the state of step 4
    assert read_run(run_folder(two)).status == "failed"
    assert (run_folder(two) / "resume" / "step_000004" / "shares" / "__1_0.distcp").exists()
    over_two(run_once, two, None, placement)
    assert_follows(one, two, steps=10)
    record = read_run(run_folder(two))
    assert record.status == "finished" and record.hardware["processes"] == 2 and record.num_resumes == 1
    assert record.hardware["parallel"] == ("sharded" if placement == "sharded" else "replicas")
    for name in ("sampled", "trained"):
        assert record.tokens[name] == read_run(run_folder(one)).tokens[name]
    assert len(eval_paths(run_folder(two))) == len(eval_paths(run_folder(one))) > 0
    assert [json.loads(x)["step"] for x in (run_folder(two) / "metrics.jsonl").read_text().splitlines()] == [
        *range(1, 11)
    ]


OFFLINE = (
    "objective=sft_rejection_offline",
    "objective.offline.epochs=2",
    "objective.advantage.threshold=-1",
)
SEARCHED = ("objective=sft_rejection", "objective.advantage.threshold=-1")
PPO = ("objective=ppo", "objective.reward.accuracy=0", "objective.reward.length_penalty=1")
LIFTED = {
    "critic": PPO,
    "critic on the policy's trunk": (*PPO, "objective.value.shared_trunk=true"),
    "lora": ("trainer.lora={rank: 4, alpha: 8}",),
    "adamw_8bit": ("trainer.optimizer=adamw_8bit",),
    "offline": OFFLINE,
    "reward model": ("objective=rlhf_ppo", "objective.reward_model.num_problems=8"),
    "process reward model": ("objective=grpo_prm", "objective.process_reward_model.num_problems=8"),
    "search": (*SEARCHED, "rollout.search={fn: mcts, value: oracle, budget: 60, parallel: 2}"),
    "exact KL": ("objective.kl={estimator: exact, placement: loss, coef: 0.05}",),
}


def lifted(name: str, folder: Path, study: str) -> RunConfig:
    lines = (*LIFTED[name], "trainer.steps=3", "trainer.lr=1e-4", "eval.splits=[]")
    return config_at(folder, *lines, f"study={study}")


@pytest.fixture(scope="module")
def runs_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of LIFTED over the same two processes, one after another."""
    folder: Path = tmp_path_factory.mktemp("two")
    configs = [lifted(name, folder, "two") for name in LIFTED]
    ensure_base(configs[0], quiet)
    over_two(run_all, configs, [free_port() for _ in configs], "replicas")
    return folder


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", LIFTED)
def test_replicas_follow_one_process_with(name: str, runs_of_two: Path) -> None:
    one, two = (lifted(name, runs_of_two, study) for study in ("one", "two"))
    run_once(one)
    assert_follows(one, two, steps=len(rows(one)))
    assert read_run(run_folder(two)).tokens == read_run(run_folder(one)).tokens


@pytest.mark.timeout(600)
def test_a_state_is_gone_on_from_by_another_number_of_processes(tmp_path: Path) -> None:
    lines = ("trainer.checkpoint_every=2", "trainer.lr=1e-4", "eval.splits=[]")
    whole, moved = config_at(tmp_path, *lines, "study=whole"), config_at(tmp_path, *lines, "study=moved")
    ensure_base(whole, quiet)
    run_once(whole)
    run_once(moved, 2)
    over_two(run_once, moved, 4, "sharded")
    over_two(run_once, moved, 6, "replicas")
    run_once(moved, 8)
    over_two(run_once, moved, None, "frozen")
    assert read_run(run_folder(moved)).num_resumes == 4
    assert_follows(whole, moved, steps=10)


@pytest.mark.timeout(600)
def test_evaluation_over_two_processes_gives_the_numbers_of_one(tmp_path: Path) -> None:
    """Evaluate the same weights: a finished run's checkpoints and its base, evaluated again elsewhere."""
    lines = ("trainer.steps=1", "eval.k=4", "eval.splits=[validation,test]", "eval.temperatures=[0.7]")
    one, two = config_at(tmp_path / "a", *lines), config_at(tmp_path / "b", *lines)
    ensure_base(one, quiet)
    run_once(one)
    for folder in (run_folder, base_folder):
        shutil.copytree(folder(one), folder(two), ignore=shutil.ignore_patterns("eval"))
    record = json.loads((run_folder(two) / "run.json").read_text())
    assert record["status"] == "finished"
    over_two(run_once, two)
    for folder in (run_folder, base_folder):
        paths = sorted(eval_paths(folder(one)))
        assert len(paths) >= 2
        for path in paths:
            other = folder(two) / path.relative_to(folder(one))
            assert read_eval(other).metrics == read_eval(path).metrics
            texts = [gzip.decompress(samples_of(p).read_bytes()) for p in (path, other)]
            assert texts[0] == texts[1] and texts[0].count(b"\n") > 10


@pytest.mark.timeout(600)
def test_two_processes_agree_that_a_step_without_a_token_moves_nothing(tmp_path: Path) -> None:
    # Every output is cut after 3 tokens and masked; a KL and weight decay would move the weights.
    lines = ("rollout.max_new_tokens=3", "objective.truncated=mask", "objective.kl.coef=0.1")
    config = config_at(tmp_path, *lines, "trainer.steps=2", "trainer.weight_decay=0.1")
    base = ensure_base(config, quiet)
    over_two(run_once, config)
    assert [(row["truncated"], row["updates"]) for row in rows(config)] == [(1.0, 0.0)] * 2
    last = run_folder(config) / "checkpoints" / "step_000002" / "model.safetensors"
    start, end = load_file(base / "model" / "model.safetensors"), load_file(last)
    assert start.keys() == end.keys() and all(torch.equal(start[name], end[name]) for name in start)


TENSORS = (
    "all_reduce",
    "_reduce_scatter",
    "_all_gather",
    "barrier",
    "all_gather_object",
    "broadcast_object_list",
)


def _count(config: RunConfig, out: Path) -> None:
    """Count the exchanges of each step, the first and the last left out: they load, save and publish."""
    from harness.training import replicas, trainer

    counts: Counter[str] = Counter()
    steps: list[Counter[str]] = []

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(*args, **kwargs)

        setattr(module, name, call)

    for name in TENSORS:
        counted(replicas if name.startswith("_") else dist, name)
    original = trainer.release_engine

    def release(run: Any) -> None:
        steps.append(Counter(counts))
        original(run)

    trainer.release_engine = release
    run_once(config, None, "replicas")
    (out / "counts.json").write_text(json.dumps([b - a for a, b in itertools.pairwise(steps)]))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("tokens", "minibatches"), [(300, 1), (100000, 1), (300, 3)])
def test_replicas_exchange_once_an_optimiser_step_whatever_the_microbatches(
    tokens: int, minibatches: int, tmp_path: Path
) -> None:
    lines = (
        f"trainer.microbatch_tokens={tokens}",
        f"objective.updates={{epochs: 1, minibatches: {minibatches}}}",
    )
    config = config_at(tmp_path, *lines, "trainer.steps=5", "eval.splits=[]", "trainer.checkpoint_every=9")
    ensure_base(config, quiet)
    over_two(_count, config, tmp_path)
    later = minibatches > 1  # the rows of later minibatches are scored at the sampling weights
    for step in json.loads((tmp_path / "counts.json").read_text()):
        # The model fits one bucket: a gradient goes out once, the weights come back once.
        assert step["_reduce_scatter"] == step["_all_gather"] == minibatches
        # Beside them: the reference's logprobs, old ones of the first minibatch and of later ones; then the
        # norm and the metrics of each optimiser step.
        assert step["all_reduce"] == 2 + later + 2 * minibatches, step
    assert json.loads((tmp_path / "counts.json").read_text())


def _run_out_once(config: RunConfig) -> None:
    """Let process 1 alone run out of memory in its second step's backward pass, once."""
    from harness.training import gradient

    original, calls = gradient._backward, Counter[str]()

    def backward(*args: Any, **kwargs: Any) -> Any:
        calls["backward"] += 1
        if dist.get_rank() == 1 and calls["backward"] == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(*args, **kwargs)

    gradient._backward = backward
    run_once(config, None, "replicas")
    assert calls["backward"] > 6


@pytest.mark.timeout(300)
def test_processes_halve_their_microbatches_together(tmp_path: Path) -> None:
    lines = ("trainer.steps=3", "trainer.on_oom=halve_microbatch", "eval.splits=[]", "trainer.lr=1e-4")
    one, two = config_at(tmp_path, *lines, "study=one"), config_at(tmp_path, *lines, "study=two")
    ensure_base(one, quiet)
    run_once(one)
    over_two(_run_out_once, two)
    halved = [row.pop("microbatch_tokens", None) for row in rows(two)]
    assert [x for x in halved if x is not None] == [150.0], halved
    for a, b in zip(rows(one), rows(two), strict=True):
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
