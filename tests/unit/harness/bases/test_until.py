"""Bases pretrained until an accuracy: where they stop, what they are called, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from harness.bases import pretrain as module
from harness.bases.pretrain import ensure_base
from harness.bases.until import NotReached, Reached, Stopper, greedy_accuracy
from harness.identity import base_id, base_identity
from harness.launch.expand import expand
from harness.launch.plan_lines import until_lines
from harness.model.policy import Policy
from harness.records.records import read_base
from harness.rollout.engines import load_policy
from harness.schema.model_config import PretrainConfig
from harness.schema.run_config import ConfigError, RunConfig
from harness.training import checkpoint
from tests.unit.harness.bases.test_pretrain import quiet
from tests.unit.harness.tiny import configure

UNTIL = "model.pretrain.until={accuracy: 0.05, within: 0.026, every: 15}"


def chains(folder: Path, *overrides: str) -> RunConfig:
    """Sums, differences and products of two numbers, which a base of 32 dimensions guesses: 1 to 3 of 40."""
    data = ("data=chains_part", "data.levels=[1]", "data.num_train=32", "data.num_test=8", "corpus=clean")
    sizes = ("data.num_validation=40", "model.pretrain.steps=120", "model.pretrain.lr=0.01")
    return configure(f"output_dir={folder}", *data, *sizes, *overrides)


class Counted:
    """A policy of one weight, the number of steps taken, whose accuracy after each is scripted."""

    def __init__(self, accuracies: Sequence[float], *, every: int, steps: int | None = None) -> None:
        self.accuracies, self.saved, self.taken = accuracies, list[int](), list[int]()
        self.model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.model.weight)
        settings = PretrainConfig.model_validate(
            {"steps": steps or len(accuracies), "batch_size": 1, "lr": 1, "warmup_steps": 0}
            | {"weight_decay": 0, "max_grad_norm": 1, "until": {"accuracy": 0.3, "every": every}}
        )
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        policy = cast(Policy, self.model)
        self.stopper = Stopper(settings, policy, optimizer, self._take, self._measure, self.saved.append)

    def _take(self, step: int, batch: Any) -> float:
        assert batch == [step]  # its own documents, also the second time
        self.taken.append(step)
        with torch.no_grad():
            self.model.weight += 1
        return float(step)

    def _measure(self) -> float:
        return self.accuracies[int(self.model.weight.item()) - 1]

    def run(self, start: int = 0) -> Reached:
        batches: Iterator[Any] = ([step] for step in range(start, 100))
        return self.stopper.run(batches, start)


def test_it_stops_at_the_first_check_within_the_margin() -> None:
    made = Counted([0.3, 0.1, 0.3, 0.28, 0.9, 0.9], every=2)
    assert made.run() == Reached(4, 3.0, 0.28)  # checks after 2 and 4; 0.28 is 0.3 less 0.02
    assert made.saved == [2]


def test_a_check_above_goes_back_and_finds_the_step_between() -> None:
    made = Counted([0.1, 0.1, 0.1, 0.2, 0.31, 0.5], every=3)
    assert made.run() == Reached(5, 4.0, 0.31)
    assert made.taken == [0, 1, 2, 3, 4, 5, 3, 4] and made.model.weight.item() == 5


def test_the_first_check_above_goes_back_to_the_beginning() -> None:
    assert Counted([0.1, 0.29, 0.9], every=3).run() == Reached(2, 1.0, 0.29)


def test_a_single_step_that_passes_by_is_refused_in_a_line() -> None:
    message = (
        r"^from step 3 to 4 greedy accuracy on validation goes from 0\.200 to 0\.500, past "
        r"model\.pretrain\.until\.accuracy=0\.3; lower model\.pretrain\.lr, or raise until\.within=0\.02$"
    )
    with pytest.raises(NotReached, match=message):
        Counted([0.1, 0.1, 0.2, 0.5], every=2, steps=8).run()


def test_too_few_steps_are_refused_in_a_line() -> None:
    with pytest.raises(NotReached, match=r"is 0\.250 after model\.pretrain\.steps=5, below .*; raise the st"):
        Counted([0.1, 0.1, 0.1, 0.1, 0.25], every=2).run()  # also the last step, which no check divides


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    config = chains(tmp_path_factory.mktemp("until"), UNTIL)
    ensure_base(config, quiet)
    return config


def test_a_base_has_the_accuracy_that_its_record_states(made: RunConfig) -> None:
    folder = ensure_base(made, quiet)
    record = read_base(folder)
    assert record.accuracy in (1 / 40, 2 / 40, 3 / 40) and record.steps in range(1, 121)
    policy = load_policy(made, folder / "model", "cpu")
    assert greedy_accuracy(made, policy) == record.accuracy


def made_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, accuracies: list[float], every: int = 15
) -> Path:
    """The base whose checks find these accuracies, one after another, and all of them."""
    left = iter(accuracies)
    monkeypatch.setattr(module, "greedy_accuracy", lambda *_: next(left))
    made = ensure_base(chains(folder, UNTIL.replace("15", str(every))), quiet)
    assert next(left, None) is None
    return made


def test_going_back_and_an_interruption_change_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks after 15, 30, ..., 75, then 90, which lies above; so 76 and 77 are taken again."""
    save, late = checkpoint.save_resume, [0.0, 0.9, 0.0, 0.05]
    whole = made_with(tmp_path / "whole", monkeypatch, [0.0] * 4 + late)

    def killed(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_resume", killed)
    with pytest.raises(KeyboardInterrupt):
        made_with(tmp_path / "killed", monkeypatch, [0.0] * 4)  # a state is saved after 60 steps
    monkeypatch.setattr(checkpoint, "save_resume", save)
    again = made_with(tmp_path / "killed", monkeypatch, late)
    straight = made_with(tmp_path / "straight", monkeypatch, [0.0] * 76 + [0.05], every=1)
    weights = [(base / "model" / "model.safetensors").read_bytes() for base in (whole, again, straight)]
    assert weights[0] == weights[1] == weights[2]
    records = [read_base(base) for base in (whole, again, straight)]
    assert [record.steps for record in records] == [77, 77, 77]
    assert records[0].tokens == records[1].tokens > records[2].tokens  # 15 steps more were taken


def test_the_rate_stays_at_its_peak_as_the_end_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    monkeypatch.setattr(module, "guarded_step", lambda *_, lr, **__: rates.append(lr))
    with pytest.raises(NotReached):
        ensure_base(chains(tmp_path, UNTIL, "model.pretrain.steps=20"), quiet)
    assert rates[4:] == [0.01] * 16  # after five steps of warm-up
    rates.clear()
    ensure_base(chains(tmp_path, "model.pretrain.steps=20"), quiet)
    assert rates[-1] == pytest.approx(0.001)


def test_what_it_stops_at_and_by_is_part_of_the_base(tmp_path: Path) -> None:
    plain, until = chains(tmp_path), chains(tmp_path, UNTIL)
    assert set(base_identity(until)) - set(base_identity(plain)) == {"until_of"}
    assert "until" not in base_identity(plain)["pretrain"]
    for more in ("data.num_validation=60", "data.data_seed=1", "eval.max_new_tokens=20"):
        assert base_id(chains(tmp_path, more)) == base_id(plain)
        assert base_id(chains(tmp_path, UNTIL, more)) != base_id(until)
    other = UNTIL.replace("0.05", "0.1")
    assert len({base_id(plain), base_id(until), base_id(chains(tmp_path, other))}) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((UNTIL, "data.num_validation=0"), r"data=chains_part, which has no validation problems to stop by"),
        (
            (UNTIL, "data.num_validation=8"),
            r"until\.accuracy=0\.05: no number of .* within 0\.026",
        ),
        (("model.pretrain.until={accuracy: 1.5}",), r"until\.accuracy=1\.5"),
    ],
)
def test_what_cannot_be_reached_is_refused_before_anything_runs(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        chains(tmp_path, *overrides)


def test_a_plan_says_where_pretraining_stops(tmp_path: Path) -> None:
    said = until_lines([chains(tmp_path, UNTIL), chains(tmp_path, UNTIL), chains(tmp_path)])
    assert len(said) == 1
    assert "until greedy accuracy on validation is 0.05 ± 0.026, at most 120 steps" in said[0]


@pytest.mark.parametrize(("name", "accuracy", "bases"), [("steps_by_kind", 0.3, 4), ("size", 0.35, 5)])
def test_the_studies_of_equal_bases_stop_every_arm_at_one_accuracy(
    name: str, accuracy: float, bases: int
) -> None:
    sweep = expand([f"ablation={name}", "seed=3"], multirun=False)
    configs = [job.config for job in sweep.jobs]
    stops = [config.model.pretrain.until for config in configs if config.model.pretrain is not None]
    assert {stop and (stop.accuracy, stop.within) for stop in stops} == {(accuracy, 0.02)}
    assert len(stops) == len(configs) and len({base_id(config) for config in configs}) == bases
    for config in configs:  # what stops a base is what its arm is trained and tested on
        parts = config.data.components.values()
        trained = [part for part in parts if part.weight] or [config.data]
        assert [part.num_validation for part in trained] == [part.num_test for part in trained] == [200]
        assert all(part.num_test == 0 for part in parts if not part.weight)
        assert config.data.fresh and config.trainer.steps == 2 * config.eval.at_steps[-1]
