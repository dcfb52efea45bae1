"""Generated programming tasks: each solution passes its tests, each mistake that is one fails them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from harness.data import code_gen, jsonl
from harness.data.code_families.family import Op, infix
from harness.data.code_gen import FAMILIES, Instance, candidate
from harness.data.load import check_data
from harness.grading.code import pool
from harness.grading.code.pool import refusal
from harness.grading.code.program import reference_of, reference_text, report
from harness.schema.data_config import DataConfig
from harness.schema.presets import preset
from harness.schema.run_config import ConfigError
from tests.unit.harness.tiny import configure

ALL = {"families": list(FAMILIES), "levels": [2, 3, 4, 5], "style": "terse", "seed": 0}
needs_confinement = pytest.mark.skipif(
    bool(refusal()), reason=f"no program can be confined here: {refusal()}"
)
EVERY = range(100)  # all buckets


def tasks(number: int) -> list[Instance]:
    cells = [(family, level) for family in FAMILIES for level in code_gen.LEVELS]
    found = [candidate(family, level, seed, EVERY) for family, level in cells for seed in range(number)]
    return [task for task in found if task is not None]


def reference(task: Instance) -> str:
    return reference_text({"tests": task.tests, "entry_point": "f", "prefix": task.prefix})


def in_place(task: Instance, solution: str) -> list[object]:
    """What a solution of the generator's own gives for the task's inputs, by Python itself."""
    function = eval(f"lambda {task.said.arguments}: {solution}")
    return [function(*inputs) for inputs in task.said.inputs]


@needs_confinement
def test_every_solution_passes_its_tests_in_the_sandbox() -> None:
    for task in tasks(3):
        found = report(task.said.solution, reference(task))
        assert found.share == 1, (task.family, task.level, task.text("terse"), found.reason)
        whole = f"```python\n{task.prefix} {task.said.solution}\n```"
        assert report(whole.split("\n")[1], reference(task)).share == 1


def test_solution_and_expected_value_agree_wherever_they_are_computed() -> None:
    """The expected values never come from the solution: 600 tasks, by Python's own eval."""
    for task in tasks(20):
        assert in_place(task, task.said.solution) == [task.said.value(*args) for args in task.said.inputs]


@needs_confinement
def test_a_mistake_fails_unless_it_is_none() -> None:
    """Swapped branches and a wrong constant are always wrong; brackets forgotten only where they count."""
    passed: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for task in tasks(4):
        try:
            same = in_place(task, task.said.wrong) == in_place(task, task.said.solution)
        except Exception:
            same = False
        is_right = report(task.said.wrong, reference(task)).share == 1
        assert is_right == same, (task.family, task.said.wrong, task.said.solution)
        passed[task.family] += is_right
        number[task.family] += 1
    assert passed["branch"] == passed["infer"] == passed["fold"] == 0
    assert 0 < passed["compose"] < number["compose"]


def test_operations_in_order_by_hand() -> None:
    """x +3 *2 %7 at 5: (5 + 3) * 2 = 16, 16 % 7 = 2; without brackets 5 + 3 * 2 % 7 = 5 + 6 = 11."""
    ops = (Op("+", 3), Op("*", 2), Op("%", 7))
    assert infix("x", ops) == "(x+3)*2%7"
    assert infix("x", ops, brackets=False) == "x+3*2%7"
    assert (eval("(x+3)*2%7", {"x": 5}), eval("x+3*2%7", {"x": 5})) == (2, 11)
    assert infix("x", (Op("*", 2), Op("+", 3), Op("-", 1))) == "x*2+3-1"


def test_a_task_by_hand() -> None:
    branch = FAMILIES["branch"].state(("%", 3, (Op("+", 1),), (Op("*", 2), Op("-", 5))))
    assert branch.terse == "x%3 ? +1 : *2 -5"
    assert branch.solution == "x+1 if x%3==0 else x*2-5"
    assert (branch.value(9), branch.value(10)) == (10, 15)
    assert {branch.value(x) - x for (x,) in branch.inputs if x % 3 == 0} == {1}
    assert {x % 3 == 0 for (x,) in branch.inputs} == {True, False}
    fold = FAMILIES["fold"].state(("max", (Op("*", 3),), (">", 4)))
    assert fold.solution == "max(a*3 for a in v if a>4)"
    assert fold.value([1, 9, 5]) == 27
    text = FAMILIES["text_steps"].state((("last", 3), ("append", "xy"), ("repeat", 2)))
    assert text.solution == "(s[-3:]+'xy')*2"
    assert text.value("abcd") == "bcdxybcdxy"
    infer = FAMILIES["infer"].state((4, 7, False))
    assert (infer.terse, infer.solution) == ("x: 1,11 2,15", "x*4+7")


def test_splits_share_no_task_and_ids_name_family_and_level() -> None:
    splits = {s: code_gen.load(s, num_problems=240, **ALL) for s in ("train", "validation", "test")}
    texts = {s: {p.text for p in problems} for s, problems in splits.items()}
    assert all(len(found) == 240 for found in texts.values())
    assert not texts["train"] & texts["test"] and not texts["validation"] & texts["test"]
    assert splits["test"][0].id.startswith("code_gen/test/000000-")
    assert Counter(p.level for p in splits["test"]) == {2: 60, 3: 60, 4: 60, 5: 60}
    assert code_gen.load("test", num_problems=240, **ALL) == splits["test"]
    corpus = {text for text, _ in code_gen.corpus(mix="mixed", num_documents=500, **ALL)}
    assert not corpus & (texts["train"] | texts["validation"] | texts["test"])


def test_the_mixed_corpus_has_mistakes_and_the_clean_one_none() -> None:
    right: dict[str, int] = {}
    for mix in ("mixed", "clean"):
        asked = {**ALL, "families": ["infer"]}
        pairs = list(code_gen.corpus(mix=mix, num_documents=1000, **asked))
        shown = [
            dict(pair.split(",") for pair in text.split(": ")[1].split(" f=")[0].split()) for text, _ in pairs
        ]
        right[mix] = sum(
            all(str(eval(code, {"x": int(x)})) == y for x, y in given.items())
            for given, (_, code) in zip(shown, pairs, strict=True)
        )
    assert right["clean"] == 1000
    assert right["mixed"] / 1000 == pytest.approx(1 - code_gen.WRONG_SHARE, abs=0.05)


def test_no_text_or_answer_needs_more_than_single_characters() -> None:
    """What the ladder's tokenizer spells without bytes."""
    for task in tasks(5):
        assert (task.text("terse") + task.said.solution).isascii()
        assert "\n" not in task.text("terse")


# ---------------------------------------------------------------- files of one's own
ROW = {"prompt": "Double it.", "entry_point": "f", "tests": ["assert f(2) == 4"], "split": "train"}


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(path: Path, **changes: object) -> DataConfig:
    return DataConfig.model_validate({**preset("code"), "path": str(path), **changes})


def test_a_row_with_tests_becomes_a_problem(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.jsonl", ROW, {**ROW, "tests": "assert f(3) == 6", "setup": "k = 1", "id": "b"}
    )
    first, second = jsonl.load(path, split="train", answer_range=None)
    assert (first.text, first.exact, first.id) == ("Double it.", True, "mine-1")
    assert reference_of(first.answer).tests == pool.Suite("f", ("assert f(2) == 4",))
    assert reference_of(second.answer).tests == pool.Suite("f", ("assert f(3) == 6",), "k = 1")
    assert second.id == "b"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"entry_point": None}, "entry_point=None is no name"),
        ({"entry_point": "f()"}, r"entry_point='f\(\)' is no name"),
        ({"tests": []}, "tests: give at least one"),
        ({"tests": {"a": 1}}, "tests: give at least one"),
        ({"tests": ["assert f(2) =="]}, r"tests: 'assert f\(2\) ==' is no Python"),
        ({"tests": [3]}, "tests: '3' is no Python"),
        ({"setup": "def"}, "setup: 'def' is no Python"),
        ({"prefix": 3}, "prefix='3' is no text"),
        ({"prompt": ""}, "no text"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = write(tmp_path / "mine.jsonl", {**ROW, **changes})
    with pytest.raises(ValueError, match=rf"line 1: {said}"):
        jsonl.load(path, split="train", answer_range=None)


@needs_confinement
def test_tests_and_rules_go_together(tmp_path: Path) -> None:
    tested = write(tmp_path / "tested.jsonl", ROW)
    check_data(config(tested))
    with pytest.raises(
        ConfigError, match=r"with tests as the answer of tested-1; set data.answer_rules=\[program"
    ):
        check_data(config(tested, answer_rules=["boxed"]))
    plain = write(tmp_path / "plain.jsonl", {"problem": "2+2", "answer": "4", "split": "train"})
    with pytest.raises(ConfigError, match=r"problem .* has an answer and no tests"):
        check_data(config(plain))
    with pytest.raises(ValueError, match=r"a program is no answer among others; set \[program\] alone"):
        config(tested, answer_rules=["program", "boxed"])


def test_the_reward_of_tests_is_refused_without_any() -> None:
    with pytest.raises(
        ConfigError, match=r"objective\.reward\.tests=1 with data\.answer_rules=\['boxed'\]: only"
    ):
        configure("objective.reward.tests=1")


def test_a_row_without_tests_is_named(tmp_path: Path) -> None:
    plain = {"id": "w7", "problem": "1+1", "answer": "2", "split": "train"}
    with pytest.raises(ConfigError, match=r"problem w7 has an answer and no tests; its row needs"):
        check_data(config(write(tmp_path / "mine.jsonl", ROW, plain)))


@pytest.mark.parametrize("name", ["code", "code_gen_mini"])
def test_a_launch_is_refused_where_nothing_can_be_confined(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.programs.refusal", lambda: "user namespaces: Operation not permitted")
    path = write(tmp_path / "mine.jsonl", ROW)
    data = config(path) if name == "code" else DataConfig.model_validate(preset(name))
    with pytest.raises(
        ConfigError, match=r"no program can be confined here \(user namespaces: Operation not"
    ):
        check_data(data)
