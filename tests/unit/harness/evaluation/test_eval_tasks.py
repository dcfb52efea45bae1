"""Benchmarks inside a run: their protocol, keys and records beside those of the data's own splits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.data.documents import benchmark_data
from harness.data.load import data_fingerprint
from harness.evaluation.eval_tasks import eval_tasks
from harness.evaluation.evaluate import evaluate
from harness.identity import base_folder, benchmark_key, digest, eval_key, run_folder, run_id
from harness.launch.bookkeeping import final_numbers
from harness.launch.compose import Composer
from harness.launch.costs import estimate
from harness.launch.expand import expand
from harness.launch.status import is_evaluated, mark_evaluated
from harness.records.records import read_eval
from harness.schema.run_config import ConfigError, RunConfig
from harness.types import Prompt, Rollout, SamplingParams

needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
TASKS = Path(__file__).resolve().parents[4] / "tasks"


class Echo:
    """Answers every prompt with the number of its first character; remembers how many it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Prompt], SamplingParams]] = []

    def generate(self, prompts: list[Prompt], *, params: SamplingParams, **_: object) -> list[Rollout]:
        self.calls.append((list(prompts), params))
        texts = [rf"\boxed{{{p.text[0]}}}" for p in prompts]
        return [
            Rollout(p.problem_id, 0, (1, 2), t, None, "stop") for p, t in zip(prompts, texts, strict=True)
        ]


def lines(path: Path, answers: str) -> Path:
    rows = [{"id": f"{path.stem}{i}", "problem": a, "answer": "7"} for i, a in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    lines(tmp_path / "own.jsonl", "77")
    lines(tmp_path / "other.jsonl", "7171")
    return tmp_path


def configure(folder: Path, *overrides: str) -> RunConfig:
    own = ["data=jsonl", f"data.path={folder / 'own.jsonl'}", "eval.k=2", f"output_dir={folder / 'out'}"]
    return Composer().config([*own, *overrides])


def other(folder: Path, settings: str = "k: 3, max_new_tokens: 8") -> str:
    path = folder / "other.jsonl"
    return f"eval.benchmarks=[{{task: jsonl, name: other, path: {path}, {settings}}}]"


def run(config: RunConfig, folder: Path) -> tuple[dict[str, object], Echo]:
    engine = Echo()
    records = evaluate(
        engine,
        config=config,
        encode=lambda t, _: list(t.encode()),
        checkpoint="base",
        step=0,
        folder=folder,
        run_id=None,
        base_id="b",
        eval_seed=7,
    )
    return {r.task: r for r in records}, engine


def test_a_benchmark_has_a_record_of_its_own_under_its_own_protocol(files: Path) -> None:
    records, engine = run(configure(files, other(files)), files / "run")
    assert set(records) == {"jsonl_test_k", "other_k"}
    record = records["other_k"]
    assert (record.split, record.k, record.n_problems, record.max_new_tokens) == ("other", 3, 4, 8)
    assert (record.temperature, record.top_p) == (0.6, 0.95)
    assert record.metrics["avg_at_k"] == 0.5 and record.metrics["greedy"] == 0.5  # 7, 1, 7, 1 against 7
    assert record.problem_ids == ["other0", "other1", "other2", "other3"]
    kinds = {(p[0].problem_id[:5], s.temperature, s.top_p, len(p)) for p, s in engine.calls}
    assert kinds == {("other", 0.6, 0.95, 12), ("other", 0, 1, 4), ("own0", 1, 1, 4), ("own0", 0, 1, 2)}
    (path,) = (files / "run" / "eval").glob("*/other_k.json")
    assert path.parent.name == f"base-{record.key}" and path.with_suffix(".samples.jsonl.gz").exists()
    assert read_eval(path).answers[1] == ["1", "1", "1"]


def test_adding_or_changing_a_benchmark_redoes_nothing_else_and_overwrites_nothing(files: Path) -> None:
    run(configure(files), files / "run")
    both = configure(files, other(files))
    assert {p.problem_id[:5] for ps, _ in run(both, files / "run")[1].calls for p in ps} == {"other"}
    assert not run(both, files / "run")[1].calls
    shorter, _ = run(
        configure(files, other(files, "limit: 1, k: 2, max_new_tokens: 8, greedy: false")), files / "run"
    )
    assert shorter["other_k"].n_problems == 1 and shorter["other_k"].greedy_correct is None
    assert len(list((files / "run" / "eval").glob("*/other_k.json"))) == 2
    assert final_numbers(both, files / "run", 0)["other/avg_at_k"] == 0.5


def test_benchmarks_stand_outside_the_runs_name_and_the_splits_key(files: Path) -> None:
    plain, with_other = configure(files), configure(files, other(files))
    assert run_id(plain) == run_id(with_other) and eval_key(plain) == eval_key(with_other)
    assert plain.eval.model_dump(exclude_defaults=True).get("benchmarks") is None

    def key(settings: str, *overrides: str) -> str:
        config = configure(files, other(files, settings), *overrides)
        return benchmark_key(config, config.eval.benchmarks[0])

    base = key("k: 3, max_new_tokens: 8")
    assert key("k: 3, max_new_tokens: 8", "eval.k=5", "trainer.lr=0.1") == base
    changed = ["k: 4, max_new_tokens: 8", "k: 3, max_new_tokens: 9", "k: 3, max_new_tokens: 8, limit: 2"]
    changed += ["k: 3, max_new_tokens: 8, top_p: 1.0", "k: 3, max_new_tokens: 8, greedy: false"]
    assert len({base, *map(key, changed), key("k: 3, max_new_tokens: 8", "seed=1")}) == 7
    lines(files / "other.jsonl", "7172")
    assert key("k: 3, max_new_tokens: 8") != base  # the problems' content counts


def test_a_limit_draws_a_sample_and_the_record_says_so(files: Path) -> None:
    rows = [{"id": f"other{i}", "problem": f"{7 if i < 20 else 1} is {i}?", "answer": "7"} for i in range(40)]
    (files / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def drawn(limit: int, *overrides: str) -> list[str]:
        settings = f"limit: {limit}, k: 2, max_new_tokens: 8, greedy: false"
        config = configure(files, other(files, settings), *overrides)
        records, engine = run(config, files / f"run{limit}{len(overrides)}")
        record = records["other_k"]
        asked = {p.problem_id for prompts, _ in engine.calls for p in prompts if p.problem_id[:5] == "other"}
        assert asked == set(record.problem_ids) and record.n_problems == min(limit, 40)
        assert record.sampled_from == (40 if limit < 40 else None)
        return record.problem_ids

    eight = drawn(8)
    order = [int(name.removeprefix("other")) for name in eight]
    assert order == sorted(order) and order != list(range(8))
    assert min(order) < 20 <= max(order)  # of both halves, where the first eight are of one
    assert set(eight) < set(drawn(12)) and drawn(8, "seed=5", "trainer.lr=0.1") == eight
    assert drawn(40) == drawn(99) == [f"other{i}" for i in range(40)]


def test_a_sample_is_another_evaluation_than_the_first_problems_were(files: Path) -> None:
    config = configure(files, other(files, "limit: 2, k: 3, max_new_tokens: 8"))
    (benchmark,) = config.eval.benchmarks
    data = benchmark_data(benchmark, config.data.template)
    first_two = data_fingerprint(data.model_copy(update={"num_test": 2}))
    identity = benchmark.model_dump(
        include={"split", "k", "temperature", "top_p", "max_new_tokens", "greedy"}
    ) | {"data": first_two, "dtype": config.dtype, "threads": config.threads}
    was = digest({**identity, "seed": config.seed, "replicate": config.replicate})
    assert benchmark_key(config, benchmark) != was
    whole = benchmark.model_copy(update={"limit": None})
    identity["data"] = data_fingerprint(benchmark_data(whole, config.data.template))
    still = digest({**identity, "seed": config.seed, "replicate": config.replicate})
    assert benchmark_key(config, whole) == still


def test_a_run_is_evaluated_only_with_its_benchmarks(files: Path) -> None:
    plain, with_other = configure(files), configure(files, other(files))
    mark_evaluated(plain, files / "out" / plain.study / run_id(plain), 4)
    assert is_evaluated(plain, 4) and not is_evaluated(with_other, 4)
    mark_evaluated(with_other, files / "out" / plain.study / run_id(plain), 4)
    assert is_evaluated(plain, 4) and is_evaluated(with_other, 4)


def test_a_benchmark_costs_time_in_the_plan(files: Path) -> None:
    few, many = (configure(files, other(files, f"k: {k}, max_new_tokens: 80")) for k in (1, 64))
    assert estimate(many).seconds > estimate(few).seconds > estimate(configure(files)).seconds


@needs_data
def test_a_bare_name_is_r1s_protocol_and_that_of_the_tasks() -> None:
    from lm_eval.tasks import TaskManager

    names = ("aime24", "aime25", "amc23", "math500", "gsm8k")
    config = Composer().config(
        [f"eval.benchmarks=[{','.join(names)}]", "model.dims.max_position_embeddings=40000"]
    )
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    tasks = manager.load([f"{name}_k" for name in names])["tasks"]
    measured = [task for task in eval_tasks(config) if task.label in names]
    assert [task.label for task in measured] == list(names)
    for task in measured:
        plain = tasks[task.task_name()].config
        assert task.k == plain.repeats and task.greedy
        ours = task.task_config("k")
        assert ours["generation_kwargs"] == plain.generation_kwargs and ours["repeats"] == plain.repeats
        assert [p.answer for p in task.problems()] == list(tasks[task.task_name()].dataset["test"]["answer"])


@pytest.mark.parametrize(
    ("benchmarks", "message"),
    [
        ("[{task: aime42, max_new_tokens: 9}]", r"eval\.benchmarks\.0\.task=aime42: no such preset"),
        ("[gsm8k,aime42]", r"eval\.benchmarks\.1\.task=aime42: no such preset .*aime24"),
        ("[gsm8k,gsm8k]", "the name gsm8k is taken"),
        ("[{task: gsm8k, name: test}]", "the name test is taken"),
        (
            "[{task: gsm8k, name: aime_gen_test, max_new_tokens: 9}]",
            "aime_gen_test is one of the data's own splits",
        ),
        (
            "[{task: gsm8k, max_new_tokens: 4096}]",
            r"eval\.benchmarks\.gsm8k\.max_new_tokens=4096 leaves no room",
        ),
        ("[{task: gsm8k, kk: 3}]", "kk: no such setting"),
        ("[{task: jsonl, path: /none.jsonl, max_new_tokens: 9}]", "name a JSONL file"),
        ("[{task: gsm8k, template: haiku, max_new_tokens: 9}]", r"eval\.benchmarks\.0\.template=haiku"),
    ],
)
def test_a_bad_benchmark_is_named_before_anything_runs(tmp_path: Path, benchmarks: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand([f"output_dir={tmp_path}", f"eval.benchmarks={benchmarks}"], multirun=False)


def test_the_base_alone_is_measured_under_other_templates(files: Path) -> None:
    config = configure(
        files, "eval.splits=[test]", "eval.base_templates=[question,boxed_answer]", other(files)
    )
    assert run_id(config) == run_id(configure(files, "eval.splits=[test]"))
    assert eval_key(config) == eval_key(configure(files, "eval.splits=[test]", other(files)))

    def measured(step: int) -> dict[str, str | None]:
        found = evaluate(
            Echo(),
            config=config,
            encode=lambda t, _: list(t.encode()),
            checkpoint="step" if step else "base",
            step=step,
            folder=files / str(step),
            run_id=None,
            base_id=None,
            eval_seed=0,
        )
        return {record.task: record.template for record in found}

    own = {"jsonl_test_k": "question", "other_k": "question"}
    controls = {"jsonl_test_boxed_answer_k": "boxed_answer", "other_boxed_answer_k": "boxed_answer"}
    assert measured(0) == own | controls and measured(2) == own
    # A base that was measured without them is not finished once they are asked for; a checkpoint is.
    plain = configure(files, "eval.splits=[test]", other(files))
    for step in (0, 2):
        owner = base_folder(plain) if step == 0 else run_folder(plain)
        mark_evaluated(plain, owner, step)
    assert is_evaluated(plain, 0) and not is_evaluated(config, 0) and is_evaluated(config, 2)


def test_a_ladder_model_has_no_chat(files: Path) -> None:
    with pytest.raises(ConfigError, match="chat"):
        configure(files, "eval.base_templates=[chat]")
