"""Further samplings of every split: their keys, records, seeds, what a launch redoes, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.evaluation.eval_tasks import eval_tasks
from harness.grading import score as scoring
from harness.identity import base_folder, benchmark_key, eval_key, run_folder, run_id, sampling_keys
from harness.launch.bookkeeping import final_numbers, new_record
from harness.launch.costs import estimate
from harness.launch.expand import expand
from harness.launch.job_checks import _check_splits
from harness.launch.pilot import pilot_of
from harness.launch.status import evaluation_folders, is_evaluated, mark_evaluated, sampling_folders
from harness.launch.tracking import Tracker
from harness.records.records import RunRecord, write_record
from harness.schema.run_config import ConfigError, RunConfig
from harness.types import Prompt, Rollout, SamplingParams
from tests.unit.harness.evaluation.test_evaluate import ROWS, ScriptedEngine, no_network, run
from tests.unit.harness.launch.test_sweep import CONF
from tests.unit.harness.tiny import configure

__all__ = ["no_network"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def asking(file: Path, *more: str) -> RunConfig:
    data = ("data=jsonl", f"data.path={file}", "data.answer_rules=[boxed]", f"output_dir={file.parent}/out")
    return configure(*data, "eval.k=4", "eval.splits=[validation,test]", *more)


def test_the_product_less_the_main_protocol_is_sampled(file: Path) -> None:
    assert asking(file).eval.samplings == []
    one = asking(file, "eval.temperatures=[0.3,1.0]")
    assert one.eval.samplings == [(0.3, 1.0)]
    both = asking(file, "eval.temperatures=[0.3,1.0]", "eval.top_ps=[0.9,1.0]")
    assert both.eval.samplings == [(0.3, 0.9), (0.3, 1.0), (1.0, 0.9)]
    assert asking(file, "eval.top_ps=[0.9]").eval.samplings == [(1.0, 0.9)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["eval.temperatures=[0.3,0.3]"], r"eval\.temperatures=\[0\.3,0\.3\]: a value stands twice"),
        (["eval.top_ps=[0.9,0.9]"], r"eval\.top_ps=\[0\.9,0\.9\]: a value stands twice"),
        (["eval.temperatures=[1.0]"], r"temperatures=\[1\]: names only what is sampled anyway"),
        (["eval.temperatures=[0.3]", "eval.splits=[test]"], "without validation in splits"),
        (["eval.temperatures=[0]"], r"eval\.temperatures\.0=0: give a number greater than 0"),
        (["eval.top_ps=[1.1]"], r"eval\.top_ps\.0=1\.1"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(file: Path, given: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        asking(file, *given)
    assert "\n" not in str(raised.value)


def test_data_without_validation_problems_has_nothing_to_choose_by(file: Path) -> None:
    every = "eval.splits=[train,perturbed,validation,test,heldout]"
    _check_splits(asking(file, every, "eval.temperatures=[0.3]"))
    file.write_text(json.dumps(ROWS[0]) + "\n")
    _check_splits(asking(file, every))
    with pytest.raises(ConfigError, match="no validation problems to choose the best one by"):
        _check_splits(asking(file, every, "eval.temperatures=[0.3]"))


def test_names_of_runs_and_of_the_main_protocol_do_not_depend_on_them(file: Path) -> None:
    plain, more = asking(file), asking(file, "eval.temperatures=[0.3,0.6]")
    assert run_id(plain) == run_id(more) and eval_key(plain) == eval_key(more)
    keys = sampling_keys(more)
    assert list(keys) == [(0.3, 1.0), (0.6, 1.0)] and len({*keys.values(), eval_key(more)}) == 3
    # The samples are those of a run with this temperature as its main one, so both share a record.
    alone = asking(file, "eval.temperature=0.3", "eval.greedy=false")
    assert keys[0.3, 1.0] == eval_key(alone)


def test_every_split_is_sampled_at_each_with_the_seeds_of_the_main_one(file: Path, tmp_path: Path) -> None:
    config, engine = asking(file, "eval.temperatures=[0.3]"), ScriptedEngine()
    records = run(config, tmp_path, engine)
    found = [(r.split, r.temperature, r.greedy_correct is not None) for r in records]
    assert found == [
        ("validation", 1.0, True),
        ("test", 1.0, True),
        ("validation", 0.3, False),
        ("test", 0.3, False),
    ]
    main, other = eval_key(config), sampling_keys(config)[0.3, 1.0]
    names = ["jsonl_test_k.json", "jsonl_validation_k.json"]
    for key in (main, other):
        assert sorted(p.name for p in tmp_path.glob(f"eval/base-{key}/*.json")) == names
    assert [r.task for r in records] == ["jsonl_validation_k", "jsonl_test_k"] * 2
    drawn = {
        temperature: {(tuple(p.problem_id for p in prompts), tuple(seeds)) for prompts, _, seeds in calls}
        for temperature in (1.0, 0.3)
        if (calls := [c for c in engine.calls if c[1].temperature == temperature])
    }
    assert drawn[1.0] == drawn[0.3] and len(drawn[1.0]) == 2
    idle = ScriptedEngine()
    run(config, tmp_path, idle)
    assert not idle.calls
    more = ScriptedEngine()  # one added later is sampled alone
    run(asking(file, "eval.temperatures=[0.3,0.6]"), tmp_path, more)
    assert {params.temperature for _, params, _ in more.calls} == {0.6}


def test_benchmarks_and_templates_are_not_sampled_again(file: Path) -> None:
    other = f"eval.benchmarks=[{{task: jsonl, path: {file}, name: other, max_new_tokens: 9}}]"
    config = asking(file, "eval.temperatures=[0.3]", other, "eval.base_templates=[boxed_answer]")
    further = [task for task in eval_tasks(config) if task.further]
    assert [(t.label, t.temperature, t.greedy, t.rerank) for t in further] == [
        ("validation", 0.3, False, False),
        ("test", 0.3, False, False),
    ]
    assert {t.data.template for t in further} == {config.data.template}
    assert benchmark_key(config, config.eval.benchmarks[0]) not in {t.key for t in further}


def test_each_completion_is_graded_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graded: list[str] = []
    real = scoring.grade

    def counting(text: str, *args: object, **options: object) -> object:
        graded.append(text)
        return real(text, *args, **options)

    monkeypatch.setattr(scoring, "grade", counting)
    run(asking(file), tmp_path, ScriptedEngine())
    assert len(graded) == 4 + 4 + 1  # different texts of p0, p1 and p2, the greedy ones among them


def test_unsourced_steps_are_counted_sample_by_sample(file: Path, tmp_path: Path) -> None:
    by_split = {r.split: r for r in run(asking(file), tmp_path, ScriptedEngine())}
    assert by_split["test"].num_unsourced_steps == [[0, 0, 0, 0], [0, 0, 0, 0]]  # of 1+2 and 2+2


def test_a_launch_adds_what_is_asked_for_later(file: Path) -> None:
    plain, more = asking(file), asking(file, "eval.temperatures=[0.3]")
    mark_evaluated(plain, run_folder(plain), 4)
    assert is_evaluated(plain, 4) and not is_evaluated(more, 4)
    mark_evaluated(more, run_folder(more), 4)
    assert is_evaluated(plain, 4) and is_evaluated(more, 4)


def test_run_json_tells_the_main_protocol_from_further_ones(file: Path) -> None:
    config = asking(file, "eval.temperatures=[0.3]")
    folder, keys = run_folder(config), sampling_keys(config)
    record = new_record(config, folder, [])
    assert set(record.eval_keys.values()) == {eval_key(config)}
    assert record.sampling_keys == {"0.3, 1": keys[0.3, 1.0]}
    write_record(folder / "run.json", record)
    later = asking(file, "eval.temperatures=[0.6]")  # the first stay, as samples of the same protocol
    kept = new_record(later, folder, []).sampling_keys
    assert kept == {"0.3, 1": keys[0.3, 1.0], "0.6, 1": sampling_keys(later)[0.6, 1.0]}
    other_k = asking(file, "eval.temperatures=[0.6]", "eval.k=2")  # not beside samples of another number
    assert new_record(other_k, folder, []).sampling_keys == {"0.6, 1": sampling_keys(other_k)[0.6, 1.0]}


def test_final_numbers_are_those_of_the_main_protocol(file: Path, tmp_path: Path) -> None:
    config, folder = asking(file, "eval.temperatures=[0.3]"), tmp_path / "run"

    class Mute(ScriptedEngine):
        """Says nothing at temperature 0.3."""

        def generate(
            self,
            prompts: Sequence[Prompt],
            *,
            params: SamplingParams,
            seeds: Sequence[int],
            policy_step: int = 0,
        ) -> list[Rollout]:
            found = super().generate(prompts, params=params, seeds=seeds, policy_step=policy_step)
            return [replace(r, text="no") for r in found] if params.temperature == 0.3 else found

    run(config, folder, Mute(), checkpoint="step_000004", step=4)
    assert final_numbers(config, folder, 4)["test/avg_at_k"] == 0.5
    (main,), (other,) = evaluation_folders(config, folder, 4), sampling_folders(config, folder, 4)
    assert main.is_dir() and other.is_dir() and main != other


def test_the_plan_prices_them(file: Path) -> None:
    plain, more = asking(file), asking(file, "eval.temperatures=[0.3,0.6]")
    assert estimate(more).seconds > estimate(plain).seconds

    def finished(config: RunConfig, seconds: dict[str, float]) -> RunRecord:
        about = {"run_id": "r", "study": "s", "status": "finished", "seeds": {}, "data_hash": "", "code": {}}
        about |= {"packages": {}, "hardware": {}, "started": ""}
        return RunRecord(config=config.model_dump(), seconds=seconds, **about)

    # 4 samples and greedy are 5 answers a problem; two further temperatures make them 13.
    before = [finished(plain, {"train": 10.0, "evaluate": 5.0})]
    assert estimate(plain, before).seconds == pytest.approx(15.0)
    assert estimate(more, before).seconds == pytest.approx(10 + 5 * 13 / 5)


def test_a_pilot_samples_no_others(tmp_path: Path) -> None:
    lines = ["ablation=rates", "data=tiny", "eval.temperatures=[0.3]", f"output_dir={tmp_path}"]
    sweep = expand(lines, multirun=True, config_dir=CONF)
    assert sweep.jobs[0].config.eval.samplings == [(0.3, 1.0)]
    pilot = pilot_of(sweep, lines, config_dir=CONF)
    assert pilot is not None and all(not job.config.eval.samplings for job in pilot.jobs)


def test_what_is_sent_to_wandb_has_the_bases_samplings_too(file: Path) -> None:
    """`r1-report fetch` makes an outputs/ folder again from it alone."""
    config = asking(file, "eval.temperatures=[0.3]")
    base, record = base_folder(config), new_record(config, run_folder(config), [])
    run(config, base, ScriptedEngine())
    sent = Tracker(config)._records(record, run_folder(config))
    keys = (eval_key(config), sampling_keys(config)[0.3, 1.0])
    assert {f"bases/{base.name}/eval/base-{key}/jsonl_test_k.json" for key in keys} <= set(sent)
