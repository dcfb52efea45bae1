"""verl's side of the benchmarks of a GRPO step: what it is given, and what is read of its log."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.benchmarks.rl_sides import Work, compared
from tests.benchmarks.rl_verl import add_verl, compute_score, overrides, read, verl
from tests.conformance.verl_steps import REASON

WORK = Work(prompts=2, samples=4, tokens=16, prompt_words=3)
# It logs a step that compiles and two others, and a line that is not whole yet; then it would go on.
STAND_IN = """#!{python}
import json, os, sys, time
with open(os.environ["VERL_FILE_LOGGER_PATH"], "w", buffering=1) as log:
    for step, seconds in enumerate((9.0, 2.0, 4.0, 8.0)):
        data = {{"timing_s/step": seconds, "timing_s/gen": seconds / 2}}
        log.write(json.dumps({{"step": step, "data": data}}) + "\\n")
    log.write('{{"step": 4, "data"')
print("given", *sys.argv[1:], flush=True)
time.sleep(600)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "a": 2, "b": 3}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python-of-verl"
    path.write_text(text.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps({"problem": p, "answer": "7"}) + "\n" for p in ("a b a", "b")))
    return path


def test_its_steps_after_the_first_are_read_and_its_processes_ended(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = verl(
        model,
        problems(tmp_path),
        out,
        WORK,
        steps=2,
        setting="8:0.5:on",
        python=program(tmp_path, STAND_IN),
    )
    assert (found["first_s"], found["step_s"], found["setting"]) == (9.0, [2.0, 4.0], "8:0.5:on")
    assert found["phases"] == {"seconds_gen": 1.5}
    given = (out / "output.log").read_text().split()
    assert given[:3] == ["given", "-m", "verl.trainer.main_ppo"]
    assert "data.max_prompt_length=3" in given
    assert "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=19" in given  # a whole row, not 8
    assert "trainer.total_training_steps=3" in given


def test_one_that_fails_says_why(model: Path, tmp_path: Path) -> None:
    failing = program(tmp_path, "#!{python}\nimport sys\nsys.exit('RuntimeError: no GPU of this kind')\n")
    with pytest.raises(SystemExit, match="verl measured nothing") as raised:
        verl(model, problems(tmp_path), tmp_path / "out", WORK, steps=2, setting="8:0.5:off", python=failing)
    assert "no GPU of this kind" in str(raised.value)


@pytest.mark.parametrize("given", ["16384", "16384:0.5:yes", "16384:2:on", "0:0.5:on"])
def test_a_setting_that_says_nothing_is_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_verl(parser, by_default=True)
    assert parser.parse_args([]).verl == ["16384:0.5:on"]
    with pytest.raises(SystemExit):
        parser.parse_args(["--verl", given])
    assert f"{given}: not of the form 16384:0.5:on" in capsys.readouterr().err


def test_a_log_that_is_not_there_yet_has_no_steps(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl", 3) == {"step_s": [], "phases": {}}


def test_peers_are_compared_at_their_medians() -> None:
    row = {"ours_s": [1.0, 2.0, 9.0], "trl_s": [], "verl_s": [5.0, 6.0]}
    assert compared("0.5B", row) == ["0.5B: ours 2.00 s, verl 5.50 s, 2.75x"]


def test_its_reward_differs_within_groups() -> None:
    assert [compute_score("none", text, ground_truth="7") for text in ("a", "ab")] == [1.0, 0.0]


def test_verl_knows_every_setting() -> None:
    """Its own configuration refuses a name that it does not have."""
    from hydra import compose, initialize_config_dir

    if (found := find_spec("verl")) is None or found.origin is None:
        pytest.skip(REASON)
    folder = Path(found.origin).parent / "trainer" / "config"
    given = overrides(Path("/m"), Path("/o"), WORK, steps=2, setting="16384:0.5:on", longest=3)
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("ppo_trainer", overrides=given)
    assert config.algorithm.rollout_correction.bypass_mode is True
    assert config.actor_rollout_ref.rollout.n == 4 and config.data.train_batch_size == 2
    assert config.actor_rollout_ref.model.custom_chat_template == "{{ messages[0]['content'] }}"
