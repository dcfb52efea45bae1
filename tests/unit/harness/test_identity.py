"""What renames a run and what must not (promise 2 of the design)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from harness.identity import base_id, eval_key, run_folder, run_id
from harness.launch.compose import Composer
from harness.launch.expand import expand
from harness.schema import run_config as schema
from harness.schema.run_config import RunConfig

COMPOSER = Composer()


def configure(*overrides: str) -> RunConfig:
    return COMPOSER.config(["experiment=smoke", *overrides])


def write_problems(path: Path, answer: int) -> Path:
    rows = [
        {"problem": f"{i}+1", "answer": answer + i, "split": split}
        for i in range(8)
        for split in ("train", "test")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "override",
    [
        "output_dir=elsewhere",
        "study=another",
        "tracking.mode=offline",
        "tracking.project=p",
        "eval.k=3",
        "eval.at_steps=[2]",
        "eval.splits=[test]",
        "trainer.checkpoint_every=1",
        "trainer.rank_timeout=5",
        "trainer.processes=1",
        "rollout.keep=0",
        "rollout.keep=9",
        "device=cpu",
    ],
)
def test_where_and_how_it_is_watched_does_not_rename_a_run(override: str) -> None:
    assert run_id(configure(override)) == run_id(configure())


@pytest.mark.parametrize(
    "override",
    [
        "objective=sft_rejection",
        "objective.kl.coef=0.05",
        "objective.reward.length_penalty=0.1",
        "objective.advantage.eps=1e-5",
        "seed=1",
        "replicate=1",
        "base_seed=1",
        "corpus=clean",
        "threads=2",
        "data.num_train=31",
        "data.data_seed=1",
        "rollout.group_size=8",
        "rollout.temperature=0.9",
        "trainer.lr=1e-3",
        "trainer.steps=5",
        "trainer.processes=2",
        "trainer.parallel=sharded",
        "model.pretrain.steps=61",
        "model.dims.num_layers=3",
    ],
)
def test_what_a_run_is_renames_it(override: str) -> None:
    assert run_id(configure(override)) != run_id(configure())


@pytest.mark.parametrize("override", ["base_seed=1", "corpus=clean", "threads=2", "model.pretrain.lr=1e-3"])
def test_what_makes_a_base_renames_it(override: str) -> None:
    assert base_id(configure(override)) != base_id(configure())


@pytest.mark.parametrize("override", ["seed=1", "replicate=1", "objective=pg", "trainer.lr=1e-3", "eval.k=3"])
def test_runs_that_differ_in_training_alone_share_their_base(override: str) -> None:
    assert base_id(configure(override)) == base_id(configure())


def test_a_problem_file_counts_by_its_content(tmp_path: Path) -> None:
    one, copy = write_problems(tmp_path / "one.jsonl", 1), write_problems(tmp_path / "copy.jsonl", 1)
    other = write_problems(tmp_path / "other.jsonl", 2)
    families = ["data=jsonl", "+data.families=[gcd]", "+data.levels=[1]"]
    first = configure(*families, f"data.path={one}")
    assert run_id(configure(*families, f"data.path={copy}")) == run_id(first)  # where it lies is no content
    assert eval_key(configure(*families, f"data.path={copy}")) == eval_key(first)
    assert run_id(configure(*families, f"data.path={other}")) != run_id(first)
    before = run_id(first)
    write_problems(one, 3)
    assert run_id(first) != before  # the same path with other problems is another run


def test_the_answer_rules_of_a_problem_file_count(tmp_path: Path) -> None:
    # They decide what is graded right, so they decide the rewards.
    path = write_problems(tmp_path / "one.jsonl", 1)
    lines = ["data=jsonl", f"data.path={path}"]
    assert run_id(configure(*lines, "data.answer_rules=[boxed]")) != run_id(configure(*lines))


def _defaults(section: type[schema.Section], prefix: str = "") -> list[tuple[str, FieldInfo]]:
    found = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, schema.Section):
            found += _defaults(field.annotation, f"{prefix}{name}.")
        elif not field.is_required():
            found.append((prefix + name, field))
    return found


def test_a_field_at_its_default_does_not_rename_a_run() -> None:
    """Written out or left out, a default is the same run: so a field that is added later renames none."""
    reference = configure()
    data = reference.model_dump(exclude_unset=True)
    written, num_written = configure().model_dump(exclude_unset=True), 0
    for path, field in _defaults(RunConfig):
        *sections, name = path.split(".")
        inner = written
        for section in sections:
            inner = inner.setdefault(section, {})
        if name not in inner:
            inner[name] = field.get_default(call_default_factory=True)
            num_written += 1
    assert num_written > 10 and written != data
    explicit = RunConfig.model_validate(written)
    assert run_id(explicit) == run_id(reference) and base_id(explicit) == base_id(reference)
    assert eval_key(explicit) == eval_key(reference)


@pytest.mark.parametrize("override", ["eval.k=3", "eval.temperature=0.5", "seed=1", "data.num_test=9"])
def test_an_evaluation_has_a_key_of_its_own(override: str) -> None:
    assert eval_key(configure(override)) != eval_key(configure())


@pytest.mark.parametrize("override", ["eval.splits=[test]", "eval.at_steps=[1]", "objective=pg"])
def test_which_splits_and_checkpoints_are_evaluated_is_not_the_protocol(override: str) -> None:
    assert eval_key(configure(override)) == eval_key(configure())


def test_processes_that_share_a_run_are_part_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(number: int, *lines: str, multirun: bool = False) -> str:
        monkeypatch.setenv("WORLD_SIZE", str(number))
        (job,) = expand(["experiment=smoke", *lines], multirun=multirun).jobs
        return job.run_id

    alone, two, four = (started(n) for n in (1, 2, 4))
    assert len({alone, two, four}) == 3
    assert started(4, "trainer.processes=2") == started(1, "trainer.processes=2") == two  # it goes on with it
    assert started(2, "trainer.processes=1") == alone
    slurm = ("hydra/launcher=slurm", "hydra.launcher.processes=2", "hydra.launcher.nodes=2")
    assert started(1, *slurm, multirun=True) == four
    assert started(1, "hydra/launcher=slurm", multirun=True) == alone


def test_the_folder_is_output_dir_study_and_run_id() -> None:
    config = configure("output_dir=out", "study=s", "replicate=2", "seed=7")
    assert run_folder(config) == Path("out") / "s" / run_id(config)
    assert run_id(config).startswith("grpo-ladder_xs-s7r2-")
