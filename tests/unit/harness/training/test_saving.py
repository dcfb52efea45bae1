"""An interrupted run whose files were damaged ends with the same bits, or says which file and what to do."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.records.lines import read_metrics
from harness.records.published import MANIFEST, Damaged
from harness.records.records import clean
from harness.reward_models.in_training import add_reward_models
from harness.schema.run_config import RunConfig
from harness.training.run_state import Run
from harness.training.saving import publish, save
from harness.training.setup import setup
from harness.training.trainer import train
from tests.damage import DAMAGE
from tests.reproducible import reproducible
from tests.unit.harness.tiny import configure, untrained_base

SMALL = (
    "objective.reward.random=1",
    "trainer.lr=3e-3",
    "trainer.steps=3",
    "trainer.checkpoint_every=2",
    "rollout.prompts_per_step=2",
    "rollout.group_size=4",
    "rollout.max_new_tokens=6",
)
KINDS = {
    "grpo": ("objective=grpo", *SMALL),
    "offline": (
        *("objective=sft_rejection", *SMALL[1:], "trainer.steps=2", "objective.offline.batch_size=2"),
        *("objective.offline.epochs=1", "objective.advantage.threshold=-1.0"),
    ),
    "reward_model": (
        *("objective=rlhf_ppo", *SMALL[1:], "objective.updates.minibatches=2"),
        *("objective.reward_model.num_problems=6", "objective.reward_model.epochs=1"),
    ),
}


class Stopped(Exception):
    """Raised where a kill strikes."""


def launch(config: RunConfig, place: Path, *, stop_after: int | None = None) -> Run:
    """Train the run in `place`/run; a kill strikes when the row of step `stop_after` + 1 is written."""
    run = setup(config, base=place / "base", folder=place / "run", device="cpu")
    add_reward_models(run)

    def log(metrics: dict[str, object]) -> None:
        if run.counters.step - 1 == stop_after:
            raise Stopped

    train(run, report=lambda *_: None, log=log, evaluate=lambda _: None)
    return run


def evidence(run: Run) -> str:
    weights = {name: tensor.tolist() for name, tensor in run.models.policy.state_dict().items()}
    rows = [reproducible(row) for row in read_metrics(run.folder / "metrics.jsonl")]
    return json.dumps(clean([rows, weights, run.counters.tokens, run.counters.flops]))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[RunConfig, Path, str]]:
    """(config, folder of an interrupted run on its base, evidence of a run that was left alone) of a kind."""
    made: dict[str, tuple[RunConfig, Path, str]] = {}

    def get(kind: str) -> tuple[RunConfig, Path, str]:
        if kind not in made:
            place = tmp_path_factory.mktemp(kind)
            config = configure(f"output_dir={place}", *KINDS[kind])
            untrained_base(place / "base")
            whole = evidence(launch(config, place))
            shutil.rmtree(place / "run")
            with pytest.raises(Stopped):
                launch(config, place, stop_after=2)
            made[kind] = config, place, whole
        return made[kind]

    return get


def broken(place: Path, to: Path) -> Path:
    shutil.copytree(place, to, dirs_exist_ok=True)
    return to


# What each kind's interrupted run holds that its relaunch depends on, and what befalls it. The whole table
# is put to their readers: test_checkpoint, test_offline, reward_models/test_classifier.
CASES = [
    ("grpo", "resume/step_000002/state.pt", ["a flipped bit", "deleted"]),
    ("grpo", "resume/step_000002/trainer.json", ["null"]),
    ("grpo", f"resume/step_000002/{MANIFEST}", ["garbage", "deleted"]),
    ("grpo", "metrics.jsonl", list(DAMAGE)),
    ("offline", "offline/accepted.jsonl.gz", ["a flipped bit", "a folder", "deleted"]),
    ("reward_model", "reward_model/model.pt", ["a flipped bit", "deleted"]),
    ("reward_model", "reward_model/made.json", ["null"]),
    ("reward_model", f"reward_model/{MANIFEST}", ["empty"]),
]


@pytest.mark.parametrize(
    ("kind", "name", "damage"), [(kind, name, each) for kind, name, found in CASES for each in found]
)
def test_damage_of_an_interrupted_run_is_named_and_changes_no_bit(
    kind: str,
    name: str,
    damage: str,
    places: Callable[[str], tuple[RunConfig, Path, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, place, whole = places(kind)
    here = broken(place, tmp_path / "here")
    DAMAGE[damage](here / "run" / name)
    capsys.readouterr()
    assert evidence(launch(config, here)) == whole
    said = capsys.readouterr().err
    if name.endswith(MANIFEST) and damage == "deleted":
        assert said == ""  # as in a folder from before there were manifests
    else:
        assert str((here / "run" / name).parent) in said and "warning: " in said


@pytest.mark.parametrize("has_digest", [True, False])
def test_a_state_goes_with_the_rows_that_were_written_up_to_it(
    has_digest: bool,
    places: Callable[[str], tuple[RunConfig, Path, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, place, whole = places("grpo")
    here = broken(place, tmp_path / "here")
    metrics, state = here / "run" / "metrics.jsonl", here / "run" / "resume" / "step_000002"
    if has_digest:  # a number that changed in a whole row
        metrics.write_text(metrics.read_text().replace('"loss": ', '"loss": 1', 1))
    else:  # a state from before there were digests
        (state / MANIFEST).unlink()
        saved = json.loads((state / "trainer.json").read_text())
        del saved["metrics_sha256"]
        (state / "trainer.json").write_text(json.dumps(saved))
        metrics.write_text(metrics.read_text().splitlines(keepends=True)[0])
    assert evidence(launch(config, here)) == whole
    said = capsys.readouterr().err
    assert ("steps 1 to 2 are not those written" if has_digest else "has steps 1 to 1 of 2") in said


def test_the_state_of_another_run_is_left_out(
    places: Callable[[str], tuple[RunConfig, Path, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, place, whole = places("grpo")
    here = broken(place, tmp_path / "here")
    other = config.model_copy(update={"seed": 1})
    (tmp_path / "other").mkdir()
    shutil.copytree(place / "base", tmp_path / "other" / "base")
    run = setup(other, base=tmp_path / "other" / "base", folder=tmp_path / "other" / "its", device="cpu")
    run.counters.step = 2
    (run.folder).mkdir()
    (run.folder / "metrics.jsonl").touch()
    save(run)
    state = Path("resume") / "step_000002"
    shutil.rmtree(here / "run" / state)
    shutil.copytree(run.folder / state, here / "run" / state)
    capsys.readouterr()
    assert evidence(launch(config, here)) == whole
    assert "made for owner=its step=2, not for owner=run step=2" in capsys.readouterr().err


def test_a_state_from_before_there_were_checksums_is_gone_on_from(
    places: Callable[[str], tuple[RunConfig, Path, str]], tmp_path: Path
) -> None:
    for kind in KINDS:
        config, place, whole = places(kind)
        here = broken(place, tmp_path / kind)
        for manifest in here.rglob(MANIFEST):
            manifest.unlink()
        trainer = here / "run" / "resume" / "step_000002" / "trainer.json"
        saved = json.loads(trainer.read_text())
        del saved["metrics_sha256"]
        trainer.write_text(json.dumps(saved))
        if kind == "offline":
            with gzip.open(here / "run" / "offline" / "accepted.jsonl.gz", "rt") as file:
                first, *rows = file.read().splitlines()
            made = json.loads(first)
            del made["owner"]
            with gzip.open(here / "run" / "offline" / "accepted.jsonl.gz", "wt") as file:
                file.write("\n".join([json.dumps(made), *rows]) + "\n")
        run = setup(config, base=here / "base", folder=here / "run", device="cpu")
        assert run.counters.step == 2, kind
        assert evidence(launch(config, here)) == whole, kind


def test_a_checkpoint_without_its_tokenizer_is_not_published(
    places: Callable[[str], tuple[RunConfig, Path, str]], tmp_path: Path
) -> None:
    config, place, _ = places("grpo")
    here = broken(place, tmp_path / "bases" / "here")  # in the place of a base
    run = setup(config, base=here / "base", folder=here / "run", device="cpu")
    shutil.rmtree(here / "base" / "model")
    with pytest.raises(Damaged, match=r"base/model: cannot be read \(FileNotFoundError.*tokenizer\.json"):
        publish(run)
    assert not list((run.folder / "checkpoints").iterdir())


def test_the_weights_move(places: Callable[[str], tuple[RunConfig, Path, str]]) -> None:
    """Else the bits above would be equal whatever was restored."""
    for kind in KINDS:
        config, place, whole = places(kind)
        start = setup(config, base=place / "base", folder=place / "nothing", device="cpu")
        before = {name: x.tolist() for name, x in start.models.policy.state_dict().items()}
        assert json.dumps(clean(before)) not in whole
        assert all(row["grad_norm"] > 0 for row in json.loads(whole)[0]), kind
