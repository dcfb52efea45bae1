"""Against verl 0.9.1 itself, on the CPU: the files and objects that pass between a run and verl."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.load import load_split
from harness.identity import streams_of
from harness.model.files.codec import Codec
from harness.model.files.hub import load_pretrained
from harness.schema.run_config import RunConfig
from harness.training.verl.compile import verl_config
from harness.training.verl.export import export, exported
from harness.training.verl.prompts import write_prompts
from harness.training.verl.read_back import outputs_of, verl_metrics
from harness.training.verl.scoring import Scorer
from harness.training.verl.slots import CONFIG
from tests.conformance.verl_steps import REASON, places
from tests.unit.harness.tiny import untrained_base

pytest.importorskip("verl", reason=REASON)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return untrained_base(tmp_path / "base") / "model"


def prepared(config: RunConfig, work: Path, start: Path) -> int:
    work.mkdir(exist_ok=True)
    (work / "config.json").write_text(config.model_dump_json())
    problems, seed = load_split(config.data, "train"), streams_of(config)["data_order"]
    return write_prompts(config, problems, Codec.from_folder(start), seed=seed, folder=work)


def test_verls_dataset_reads_the_prompts_in_order(on_verl: Any, tmp_path: Path, start: Path) -> None:
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer
    from verl.utils.dataset.rl_dataset import RLHFDataset

    config, work = on_verl("objective=grpo", "trainer.steps=3"), tmp_path / "verl"
    longest = prepared(config, work, start)
    given = verl_config(config, places(work), longest_prompt=longest)["data"]
    settings = OmegaConf.create({**given, "cache_dir": str(tmp_path / "cache")})
    tokenizer = AutoTokenizer.from_pretrained(start)
    found = RLHFDataset(str(work / "train.parquet"), tokenizer, settings)
    assert len(found) == 3 * config.rollout.prompts_per_step
    rows = [found[i] for i in range(len(found))]
    assert [row["extra_info"]["place"] for row in rows] == list(range(len(rows)))
    assert all(len(row["raw_prompt"]) == 1 and row["raw_prompt"][0]["role"] == "user" for row in rows)
    assert all(row["reward_model"]["ground_truth"] for row in rows)


def test_verls_reward_is_the_graders(
    on_verl: Any, tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hand over one output as verl does: padded tensors, and the fields of its row."""
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from verl.protocol import DataProto

    from harness.training.verl.reward import RewardManager

    config, work = on_verl("objective=grpo", "objective.reward.inverted=0.25"), tmp_path / "verl"
    prepared(config, work, start)
    monkeypatch.setenv(CONFIG, str(work / "config.json"))
    codec, problem = Codec.from_folder(start), load_split(config.data, "train")[0]
    settings = OmegaConf.create({"actor_rollout_ref": {"model": {"path": str(start)}}})
    manager = RewardManager(settings, None, None)
    prompt = [5, 6, 7]
    for answer, reward in ((problem.answer, 1.0), (problem.answer + "1", 0.25)):
        tokens = [*codec.encode(rf"\boxed{{{answer}}}"), codec.eos_token_ids[0]]
        responses = torch.tensor([tokens + [0] * 4])
        mask = torch.tensor([[1] * (len(prompt) + len(tokens)) + [0] * 4])
        batch = TensorDict(
            {"prompts": torch.tensor([prompt]), "responses": responses, "attention_mask": mask}, batch_size=1
        )
        fields = {"extra_info": np.array([{"problem_id": problem.id, "place": 0}], dtype=object)}
        data = DataProto(batch=batch, non_tensor_batch=fields)
        found = manager.loop.run_until_complete(manager.run_single(data))
        assert found["reward_score"] == reward
        assert isinstance(manager.scorer, Scorer)
    lines = outputs_of(work, 1)
    assert [line["finish_reason"] for line in lines] == ["stop", "stop"]
    assert {line["num_prompt_tokens"] for line in lines} == {3}
    assert lines[0]["num_tokens"] == len(codec.encode(rf"\boxed{{{problem.answer}}}")) + 1
    asyncio.set_event_loop(None)


def test_what_ends_an_output_is_read_as_vllm_reads_it(on_verl: Any, tmp_path: Path, start: Path) -> None:
    """vLLM takes the file's end tokens by transformers' class."""
    from transformers import GenerationConfig

    from harness.training.verl.engine import VerlRun

    run = VerlRun(on_verl("objective=grpo", "trainer.steps=3"), tmp_path / "run", start)
    run.work.mkdir(parents=True)
    run.prepare()
    found = GenerationConfig.from_pretrained(run.work)
    assert found.eos_token_id == list(Codec.from_folder(start).eos_token_ids)


def test_what_verls_logger_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.utils.tracking import Tracking

    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "metrics-000.jsonl"))
    tracking = Tracking("study", "run", default_backend=["file"], config={"trainer": {}})
    tracking.log({"actor/grad_norm": np.float32(0.5), "timing_s/gen": 2.0}, step=1)
    tracking.log({"actor/grad_norm": float("nan")}, step=2)
    found = verl_metrics(tmp_path)
    assert found[1] == {"actor/grad_norm": 0.5, "timing_s/gen": 2.0}
    assert found[2] == {"actor/grad_norm": None}  # JSON has no NaN


def test_what_transformers_writes_for_verl_is_a_checkpoint_of_ours(tmp_path: Path, start: Path) -> None:
    """verl saves a model made from the config, with the float32 weights of its shards as the state."""
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.from_pretrained(start)
    policy = load_pretrained(start, dtype=torch.float32, device="cpu")
    state = {name: x.detach() + 0.5 for name, x in policy.state_dict().items()}
    model = AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16)
    wanted = {name: state[name] for name in model.state_dict() if name in state}
    target = exported(tmp_path / "checkpoints", 4)
    model.save_pretrained(target, state_dict=wanted)
    export(tmp_path / "checkpoints", start=start, folder=tmp_path / "run", step=4)
    made = tmp_path / "run" / "checkpoints" / "step_000004"
    back = load_pretrained(made, dtype=torch.float32, device="cpu").state_dict()
    assert all(torch.equal(back[name], x) for name, x in state.items())
