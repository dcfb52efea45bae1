"""Evaluation with scripted completions: hand-worked metrics, shared seeds, skip and resume, no network."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest

from harness.evaluation.engine_lm import EngineLM, sampling_params
from harness.evaluation.eval_metrics import Scored, metric_values
from harness.evaluation.eval_tasks import eval_tasks
from harness.evaluation.evaluate import evaluate, scored
from harness.grading.score import score, votes
from harness.grading.steps.check import MAX_TEXT_CHARS
from harness.launch.compose import Composer
from harness.records.lines import read_samples
from harness.records.records import read_eval
from harness.schema.run_config import RunConfig
from harness.seeds import derive
from harness.types import Problem, Prompt, Rollout, SamplingParams

ROWS = [
    {"id": "p0", "problem": "1+2", "answer": "3", "split": "test"},
    {"id": "p1", "problem": "2+2", "answer": "4", "split": "test", "topic": "sums", "level": 2},
    {"id": "p2", "problem": "3+1", "answer": "4", "split": "validation"},
]
# Four samples a problem, in order, then greedy. "1+2=3" is one right step, "1+2=4" one wrong step.
SCRIPT = {
    "p0": [r"1+2=3;\boxed{3}", r"1+2=4;\boxed{3}", r"\boxed{3}", r"1+2=3;\boxed{4}", r"\boxed{3}"],
    "p1": [r"\boxed{5}", "no answer", r"2+2=4;\boxed{4}", r"2+2=5;\boxed{5}", r"\boxed{5}"],
    "p2": [r"\boxed{4}"] * 5,
}


class ScriptedEngine:
    """Says what SCRIPT holds and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Prompt], SamplingParams, list[int]]] = []

    def generate(
        self, prompts: Sequence[Prompt], *, params: SamplingParams, seeds: Sequence[int], policy_step: int = 0
    ) -> list[Rollout]:
        self.calls.append((list(prompts), params, list(seeds)))
        seen: dict[str, int] = {}
        rollouts = []
        for prompt in prompts:
            i = seen.setdefault(prompt.problem_id, 0)
            seen[prompt.problem_id] += 1
            text = SCRIPT[prompt.problem_id][4 if params.temperature == 0 else i]
            finish = "length" if text == "no answer" else "stop"
            ids = tuple(range(len(text)))
            rollouts.append(Rollout(prompt.problem_id, i, ids, text, None, finish, policy_step))
        return rollouts

    def load_weights(self, weights: object) -> None:
        raise AssertionError("evaluation does not change weights")


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return Composer().config(
        ["data=jsonl", f"data.path={path}", "data.answer_rules=[boxed]", "eval.k=4", "model=ladder_xs"]
    )


def run(config: RunConfig, folder: Path, engine: ScriptedEngine, **changes: object) -> list:
    settings = {"checkpoint": "base", "step": 0, "run_id": None, "base_id": "b", "eval_seed": 7, **changes}
    return evaluate(engine, config=config, encode=lambda t, _: list(t.encode()), folder=folder, **settings)


def out_of(folder: Path) -> Path:
    """Folder in which a test's one protocol put its records."""
    (out,) = (folder / "eval").glob("base-*")
    return out


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("evaluation opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_metrics_of_scripted_completions_match_hand_work(config: RunConfig, tmp_path: Path) -> None:
    records = {r.split: r for r in run(config, tmp_path, ScriptedEngine())}
    assert set(records) == {"test", "validation"}  # splits without problems are left out
    record = records["test"]
    assert record.task == "jsonl_test_k" and record.problem_ids == ["p0", "p1"] and record.k == 4
    assert record.topics == [None, "sums"] and record.levels == [None, 2]
    assert record.correct == [[1, 1, 1, 0], [0, 0, 1, 0]]
    assert record.answers == [["3", "3", "3", "4"], ["5", None, "4", "5"]]
    assert record.stepped == [[1, 1, 0, 1], [0, 0, 1, 1]]
    assert record.num_wrong_steps == [[0, 1, 0, 0], [0, 0, 0, 1]]
    assert record.truncated == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert record.greedy_correct == [1, 0]
    m = record.metrics
    assert m["avg_at_k"] == 0.5  # (3/4 + 1/4) / 2
    # each problem's p(1-p)/(n-1) is 3/16/3 = 1/16, so sqrt(1/16 + 1/16)/2
    assert m["avg_at_k_se_sampling"] == pytest.approx(sqrt(1 / 8) / 2)
    assert m["avg_at_k_se_problems"] == pytest.approx(0.25)  # sd(3/4, 1/4) = sqrt(1/8); / sqrt(2)
    # pass@2: 1 - C(1,2)/C(4,2) = 1 and 1 - C(3,2)/C(4,2) = 1/2
    assert m["pass_at_1"] == 0.5 and m["pass_at_2"] == 0.75 and m["pass_at_4"] == 1.0
    assert m["maj_at_k"] == 0.5  # "3" has three votes of four; "5" beats "4" two to one
    assert m["direct_share"] == 3 / 8 and m["extracted_share"] == 7 / 8 and m["truncated_share"] == 1 / 8
    assert m["accuracy_direct"] == pytest.approx(1 / 3)  # direct: right, wrong, none
    assert m["accuracy_stepped"] == 3 / 5
    assert m["step_validity"] == 3 / 5
    assert m["right_with_wrong_step"] == pytest.approx(1 / 3)
    assert m["wrong_with_all_steps_right"] == 1 / 2  # 1+2=3 then 4; 2+2=5 has a wrong step
    # last step and answer: 3 3, 4 3, 3 4 of p0; 4 4, 5 5 of p1
    assert m["last_step_answers"] == 3 / 5
    assert m["sourced_steps"] == 1.0  # all operands are in the problems 1+2 and 2+2
    assert m["greedy"] == 0.5 and m["greedy_se_problems"] == pytest.approx(0.5)  # sd(1, 0)/sqrt(2)
    lengths = [len(t) for p in ("p0", "p1") for t in SCRIPT[p][:4]]
    assert m["mean_length"] == sum(lengths) / 8
    assert (record.best_constant_answer, record.best_constant) == ("3", 0.5)


def test_every_completion_is_kept_with_its_grade(config: RunConfig, tmp_path: Path) -> None:
    run(config, tmp_path, ScriptedEngine())
    rows = list(read_samples(out_of(tmp_path) / "jsonl_test_k.samples.jsonl.gz"))
    assert [r["completion"] for r in rows[:4]] == SCRIPT["p0"][:4] and len(rows) == 10
    assert [r["sample_idx"] for r in rows] == [0, 1, 2, 3, 0, 1, 2, 3, None, None]
    said = [(r["problem"], r["reference"]) for r in rows]
    assert said == [("1+2", "3")] * 4 + [("2+2", "4")] * 4 + [("1+2", "3"), ("2+2", "4")]
    assert rows[5]["extracted"] is None and rows[5]["finish_reason"] == "length" and rows[5]["reason"]


def test_completions_do_not_stay_in_memory(config: RunConfig, tmp_path: Path) -> None:
    run(config, tmp_path, ScriptedEngine())
    assert score.cache_info().currsize == 0


def test_standard_errors_match_brute_force() -> None:
    rng = random.Random(0)
    rows = [[rng.choice(["3", "3", "4", "5"]) for _ in range(4)] for _ in range(6)]
    scored = []
    for i, texts in enumerate(rows):
        scores = tuple(score(rf"\boxed{{{t}}}", "3", ("boxed",), False) for t in texts)
        rollouts = tuple(Rollout(str(i), j, (1,), t, None, "stop") for j, t in enumerate(texts))
        scored.append(Scored(Problem(str(i), "d", "test", "?", "3"), rollouts, scores))
    m = metric_values(scored)
    means = [sum(t == "3" for t in row) / 4 for row in rows]
    grand = sum(means) / 6
    assert m["avg_at_k"] == pytest.approx(grand)
    assert m["avg_at_k_se_problems"] == pytest.approx(sqrt(sum((x - grand) ** 2 for x in means) / 5 / 6))
    assert m["avg_at_k_se_sampling"] == pytest.approx(sqrt(sum(x * (1 - x) / 3 for x in means)) / 6)
    pairs = [[row[a] == "3" or row[b] == "3" for a in range(4) for b in range(a)] for row in rows]
    assert m["pass_at_2"] == pytest.approx(sum(sum(p) / 6 for p in pairs) / 6)


def test_sample_i_of_a_problem_has_one_seed_in_every_arm_and_checkpoint(
    config: RunConfig, tmp_path: Path
) -> None:
    engines = [ScriptedEngine() for _ in range(2)]
    run(config, tmp_path, engines[0])
    only_test = config.model_copy(update={"eval": config.eval.model_copy(update={"splits": ["test"]})})
    run(only_test, tmp_path, engines[1], checkpoint="step_000005", step=5, run_id="other")
    seeds = [
        {
            (p.problem_id, params.temperature): s
            for ps, params, ss in e.calls
            for p, s in zip(ps, ss, strict=True)
        }
        for e in engines
    ]
    assert seeds[1].items() <= seeds[0].items()
    prompts, _, drawn = next(c for c in engines[0].calls if c[0][0].problem_id == "p0")
    assert drawn[:4] == [derive(7, "p0", i) for i in range(4)] and len(set(drawn)) == len(drawn)
    assert prompts[0].text == "1+2\n" and prompts[0].token_ids == tuple(b"1+2\n")


def test_a_task_with_a_record_is_not_done_again_and_a_damaged_one_is(
    config: RunConfig, tmp_path: Path
) -> None:
    run(config, tmp_path, ScriptedEngine())
    out = out_of(tmp_path)
    samples = (out / "jsonl_test_k.samples.jsonl.gz").read_bytes()
    before = read_eval(out / "jsonl_test_k.json").model_dump(exclude={"seconds"})
    idle = ScriptedEngine()
    assert [r.split for r in run(config, tmp_path, idle)] == ["validation", "test"] and not idle.calls
    (out / "jsonl_test_k.json").write_text('{"key": ')  # a foreign editor's doing; ours replaces whole files
    again = ScriptedEngine()
    run(config, tmp_path, again)
    assert {p.problem_id for ps, _, _ in again.calls for p in ps} == {"p0", "p1"}
    assert read_eval(out / "jsonl_test_k.json").model_dump(exclude={"seconds"}) == before
    assert (out / "jsonl_test_k.samples.jsonl.gz").read_bytes() == samples
    other = config.model_copy(update={"eval": config.eval.model_copy(update={"max_new_tokens": 9})})
    changed = ScriptedEngine()
    assert run(other, tmp_path, changed)[0].max_new_tokens == 9 and changed.calls  # another key: done again


def test_a_kill_between_samples_and_record_ends_with_the_same_bytes(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(config, tmp_path / "whole", ScriptedEngine())

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("harness.evaluation.evaluate.write_record", die)
        run(config, tmp_path / "killed", ScriptedEngine())
    run(config, tmp_path / "killed", ScriptedEngine())
    files = [sorted(out_of(tmp_path / name).iterdir()) for name in ("whole", "killed")]
    assert [f.name for f in files[0]] == [f.name for f in files[1]] and len(files[0]) == 4
    for a, b in zip(*files, strict=True):
        if a.suffix == ".gz":
            assert a.read_bytes() == b.read_bytes()
        else:
            assert read_eval(a).model_dump(exclude={"seconds"}) == read_eval(b).model_dump(
                exclude={"seconds"}
            )


def test_progress_counts_up_to_all_completions(config: RunConfig, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    run(config, tmp_path, ScriptedEngine(), progress=lambda *a: seen.append(a))
    assert seen[0][1] == 0 and seen[-1][1:] == (15, 15)  # 3 problems × (4 samples + greedy)
    assert all(a[1] <= b[1] for a, b in pairwise(seen))


def test_nothing_of_lm_eval_reaches_the_terminal(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config, tmp_path, ScriptedEngine())
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""


def test_generation_options_become_sampling_params() -> None:
    options = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "max_gen_toks": 9, "until": ["\n\n"]}
    assert sampling_params(options) == SamplingParams(9, 0.6, 0.95, 0, False, ("\n\n",))
    assert (
        sampling_params({**options, "do_sample": False}).temperature == 0
    )  # greedy whatever the temperature
    assert sampling_params({"until": "Q:"}) == SamplingParams(256, 0.0, stop=("Q:",))
    with pytest.raises(ValueError, match="num_beams=4"):
        sampling_params({"num_beams": 4})


def test_loglikelihood_without_a_callable_says_what_is_missing() -> None:
    lm = EngineLM(ScriptedEngine(), encode=lambda t, _: [1], eval_seed=0)
    with pytest.raises(ValueError, match="EngineLM\\(loglikelihood"):
        lm.loglikelihood([])


def test_a_class_graded_both_ways_votes_apart() -> None:
    right, wrong = score(r"\boxed{3}", "3", ("boxed",), False), score(r"\boxed{3}", "4", ("boxed",), False)
    assert right.correct and not wrong.correct and right.vote == wrong.vote == "3"
    assert votes([right, wrong]) == ["3", "3 (graded wrong)"]


def test_a_problem_compared_as_it_stands_is_so_in_the_record() -> None:
    task = next(iter(eval_tasks(Composer().config([]))))
    rollout = Rollout("p", 0, (1,), r"\boxed{Cab}", None, "stop")
    for exact, right in ((True, False), (False, True)):
        problem = Problem("p", "d", "test", "Sort", "cab", exact=exact)
        assert scored(task, problem, [rollout]).scores[0].correct is right


def test_statements_are_placed_in_the_whole_text_however_long() -> None:
    for text in ("2+2=5, so 3*4=12", "x" * (MAX_TEXT_CHARS + 7) + " 2+2=5, so 3*4=12"):
        found = score(text, "12", ("boxed",), False).statements
        assert [(text[a:b], right) for a, b, right in found] == [("2+2=5", False), ("3*4=12", True)]
