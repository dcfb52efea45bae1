"""Exports: what is refused, in one line; what the card says; that a folder is whole or not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.launch import export as module
from harness.launch.export import export
from harness.launch.exported import Exported, command, shared_settings
from harness.launch.measured import Measured
from harness.launch.model_card import model_card
from harness.launch.run import main
from harness.launch.runs import find_run
from harness.records.published import publish
from harness.records.records import BaseRecord, write_record
from harness.schema.run_config import RunConfig
from tests.unit.harness.launch.test_measured import AFTER, BEFORE, evaluation, run_record
from tests.unit.harness.tiny import configure, untrained_base

RUN_ID = "grpo-ladder_xs-s0-0a1b2c3d"


def write_run(outputs: Path, *, steps: tuple[int, ...] = (2,), study: str = "s", **fields: object) -> Path:
    """A run with checkpoints of these steps, without a base and evaluations."""
    folder = outputs / study / RUN_ID
    config = configure(f"output_dir={outputs}", f"study={study}").model_dump(mode="json")
    record = run_record(run_id=RUN_ID, study=study, config=config, steps_done=max(steps, default=0), **fields)
    write_record(folder / "run.json", record)
    for step in steps:

        def fill(target: Path) -> None:
            untrained_base(target / "x")
            for path in (target / "x" / "model").iterdir():
                path.rename(target / path.name)
            (target / "x" / "model").rmdir()
            (target / "x").rmdir()

        weights = folder / "checkpoints" / f"step_{step:06d}"
        publish(weights, fill, identity={"owner": RUN_ID, "step": step})
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line that a refused export prints; it leaves nothing."""
    assert main(["export", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == "" and line.startswith("error: ")
    return line


def test_the_last_checkpoint_is_written_unless_a_step_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, steps=(2, 4))
    assert main(["export", str(run), str(tmp_path / "deep" / "a")]) == 0
    assert "step 4 (the last)" in capsys.readouterr().out
    assert main(["export", str(run), str(tmp_path / "b"), "--step", "2"]) == 0
    assert "step 2 (of 4)" in capsys.readouterr().out
    assert "This is step 2 of 4" in (tmp_path / "b" / "README.md").read_text()
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"a"}
    assert "has no such checkpoint; it has 2, 4" in refused(capsys, run, tmp_path / "c", "--step", 3)
    assert not (tmp_path / "c").exists()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, target = write_run(tmp_path), tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("kept")
    assert f"{target}: not empty" in refused(capsys, run, target)
    assert f"{target / 'mine'}: a file" in refused(capsys, run, target / "mine")
    assert [p.name for p in target.iterdir()] == ["mine"]
    (target / "mine").unlink()
    assert main(["export", str(run), str(target)]) == 0  # an empty one will do


def test_a_folder_that_fills_up_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, target = write_run(tmp_path), tmp_path / "out"
    original = module._fill

    def slow(*arguments: object) -> None:
        original(*arguments)
        target.mkdir()
        (target / "mine").write_text("kept")

    monkeypatch.setattr(module, "_fill", slow)
    with pytest.raises(ValueError, match="not empty"):
        export(run, target)
    assert {p.name for p in tmp_path.iterdir()} == {"s", "out"} and (target / "mine").read_text() == "kept"


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    run = write_run(tmp_path)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("harness.launch.model_card.model_card", fails)
    with pytest.raises(type(error)):
        export(run, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_run_without_a_checkpoint_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, steps=(), status="failed", reason="ValueError: no")
    assert "no checkpoint (failed: ValueError: no); launch the run again" in refused(
        capsys, run, tmp_path / "o"
    )


def test_an_unfinished_run_is_exported_with_a_word_in_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, status="interrupted")
    assert main(["export", str(run), str(tmp_path / "out")]) == 0
    assert "the run is interrupted, not finished" in capsys.readouterr().out
    assert "did not finish (interrupted)" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_damaged_file_of_the_checkpoint_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run = write_run(tmp_path)
    path = run / "checkpoints" / "step_000002" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    line = refused(capsys, run, tmp_path / "out")
    assert f"{path}: its content is not what was written" in line and not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path)
    write_record(run / "run.json", run_record(run_id="other", config=configure().model_dump(mode="json")))
    assert f"made for owner={RUN_ID} step=2, not for owner=other" in refused(capsys, run, tmp_path / "out")


def test_a_damaged_record_and_another_versions_config_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path)
    record = json.loads((run / "run.json").read_text())
    write_record(run / "run.json", run_record(run_id=RUN_ID, config=record["config"] | {"no_such": 1}))
    assert "its config is another version's (1 fields)" in refused(capsys, run, tmp_path / "out")
    (run / "run.json").write_bytes((run / "run.json").read_bytes().replace(b'"seeds"', b'"seedz"'))
    assert f"{run / 'run.json'}: its content is not what was written" in refused(
        capsys, run, tmp_path / "out"
    )


def test_numbers_beyond_a_precision_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    run = write_run(tmp_path)
    path = run / "checkpoints" / "step_000002" / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = torch.full_like(weights[name], 1e5)  # float16 ends at 65504
    save_file(weights, path, metadata={"format": "pt"})
    (path.parent / "manifest.json").unlink()
    assert f"--dtype float16: {name} holds numbers beyond it" in refused(
        capsys, run, tmp_path / "out", "--dtype", "float16"
    )
    assert main(["export", str(run), str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0


def test_a_run_is_found_by_folder_study_and_id(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    for name in (str(run), f"s/{RUN_ID}", RUN_ID):
        assert find_run(name, tmp_path) == run
    with pytest.raises(ValueError, match=f"s: a study of 1 runs; name one, as .*{RUN_ID}"):
        find_run("s", tmp_path)
    with pytest.raises(ValueError, match=f"no such run under .*did you mean {RUN_ID}"):
        find_run(RUN_ID[:-1] + "e", tmp_path)
    with pytest.raises(ValueError, match="name a run's folder, or --outputs DIR"):
        find_run(RUN_ID, tmp_path / "elsewhere")
    write_run(tmp_path, study="t")
    with pytest.raises(ValueError, match="2 studies have this run"):
        find_run(RUN_ID, tmp_path)


def test_help_and_a_wrong_option_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["export", "--help"])
    assert "RUN FOLDER" in capsys.readouterr().out
    assert "invalid choice: 'int8'" in refused(capsys, "a", "b", "--dtype", "int8")
    assert "the following arguments are required: RUN, FOLDER" in refused(capsys)


def about(*overrides: str, **fields: object) -> Exported:
    config = configure("output_dir=/home/me/out", *overrides)
    found = Exported(
        record=run_record(run_id=RUN_ID, study="s", packages={"torch": "2.13", "transformers": "5.19"}),
        config=config,
        step=2,
        last=2,
        dtype="float32",
        parameters=44640,
        base=None,
        licence=None,
        chat=False,
        measured=[Measured(evaluation(AFTER), evaluation(BEFORE, step=0))],
        data_report={"train": {"num_problems": 32, "num_contaminated": 3}},
    )
    return replace(found, **fields)


def test_the_card_has_the_numbers_with_their_intervals() -> None:
    """By hand: before 0 .5 1 0, mean .375, sd of (.140625 .015625 .390625 .140625) = sqrt(.6875 / 3) = .4787;
    t(.975, 3) = 3.1824, half = 3.1824 × .4787 / 2 = .7617, cut at 0 and 1: [0, 100]. After .5 1 1 0, mean
    .625, the same sd. Difference .5 .5 0 0: mean .25, sd .2887, half .4594: [−20.9, 70.9]."""
    card = model_card(about())
    row = next(line for line in card.splitlines() if "avg@2" in line and line.startswith("| test"))
    assert row == "| test | 4 | avg@2 | 37.5 [0.0, 100.0] | 62.5 [0.0, 100.0] | +25.0 [−20.9, +70.9] |"
    assert "temperature 1, top-p 1, 8 tokens at most" in card and "32 training problems" in card
    assert "3 left out that overlap" in card


def test_training_problems_are_no_result_of_the_model_index() -> None:
    both = [
        Measured(evaluation(AFTER, split="train", task="aime_gen_train_k"), None),
        Measured(evaluation(AFTER), evaluation(BEFORE)),
    ]
    card = model_card(about(measured=both))
    matter = yaml.safe_load(card.split("---\n")[1])
    (result,) = matter["model-index"][0]["results"]
    assert result["dataset"] == {"name": "aime_gen_test", "type": "aime_gen_test", "split": "test"}
    assert result["metrics"][0] == {"type": "accuracy", "name": "avg@2", "value": 0.625}
    assert "| train | 4 | avg@2 | — | 62.5" in card


def test_a_model_below_the_best_constant_answer_says_so() -> None:
    assert "no ability is shown" not in model_card(about())
    poor = evaluation(AFTER, best_constant=0.625, metrics={"avg_at_k": 0.625, "truncated_share": 0.25})
    card = model_card(about(measured=[Measured(poor, None)]))
    assert "no ability is shown: test (62.5 %)" in card and "cut at the length limit: test (25.0 %)" in card


def test_flags_and_an_uncommitted_checkout_are_said() -> None:
    code = {"version": "0.1", "commit": "abc", "dirty": True, "earlier_commits": ["def"]}
    card = model_card(about(record=run_record(run_id=RUN_ID, flags=["no_updates"], code=code)))
    assert "flagged: `no_updates`" in card and "commit `abc` with uncommitted changes (begun by def)" in card


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("smollm2_135m_instruct", "apache-2.0", "Licence: that of the base, apache-2.0."),
        ("llama3_1_8b", "llama3.1", "“Built with Llama” is shown"),
        ("smollm2_135m", None, "The base's licence is not known here and applies"),
        ("ladder_xs", None, "No licence is stated"),
    ],
)
def test_base_and_licence(name: str, given: str | None, words: str) -> None:
    config = RunConfig.model_validate(
        configure().model_dump() | {"model": preset(name), "data": configure().data.model_dump()}
    )
    card = model_card(about(config=config, licence=given))
    matter = yaml.safe_load(card.split("---\n")[1])
    assert words in card and matter.get("license") == given
    assert matter.get("base_model") == config.model.hub_id
    assert matter.get("base_model_relation") == ("finetune" if config.model.hub_id else None)


def preset(name: str) -> dict[str, object]:
    from harness.launch.compose import Composer

    found: dict[str, object] = Composer().config([f"model={name}"]).model.model_dump()
    return found


def test_no_path_of_the_machine_is_published() -> None:
    config = configure(
        "output_dir=/home/me/out", "data=jsonl", "data.path=/home/me/secret/mine.jsonl", "tracking.entity=me"
    )
    text = shared_settings(config) + model_card(about(config=config))
    assert "/home" not in text and "secret" not in text and "entity" not in text and "mine.jsonl" in text
    RunConfig.model_validate(
        yaml.safe_load(shared_settings(config))
        | {"output_dir": "o", "tracking": config.tracking.model_dump()}
    )
    given = [
        "data.path=/home/me/mine.jsonl",
        "output_dir=/home/me",
        "trainer.lr=1e-3",
        "model.path=~/m",
        "tracking.mode=x",
    ]
    assert command(given) == "python -m harness data.path=mine.jsonl trainer.lr=1e-3 model.path=m"


def test_published_data_is_linked() -> None:
    card = model_card(about("data=gsm8k", "data.template=question"))
    matter = yaml.safe_load(card.split("---\n")[1])
    assert matter["datasets"] == ["openai/gsm8k"] and "huggingface.co/datasets/openai/gsm8k" in card


def test_a_pretrained_base_is_described_by_its_record() -> None:
    base = BaseRecord(
        base_id="ladder_xs-mixed-b0-1",
        identity={},
        **{"num_parameters": 9, "num_non_embedding_parameters": 5, "tokens": 17100, "flops": 1.0},
        **{"seconds": 1.0, "final_loss": 2.777, "code": {}},
    )
    assert "17.1k tokens, final loss 2.78" in model_card(about(base=base))
