"""Problems of the user's own: other columns, an answer in its text, any hub data set, a function's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data import hub
from harness.data.documents import data_config
from harness.data.load import check_data, data_fingerprint, data_report, load_split
from harness.schema.data_config import DataConfig
from harness.schema.own_function import forget
from harness.schema.presets import preset
from harness.schema.run_config import ConfigError

GSM8K = [{"question": f"{i} and {i}?", "answer": f"so #### 1\n#### {2 * i}"} for i in range(60)]
PATTERN = {"columns": {"problem": "question"}, "answer_pattern": "#### (.+)"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget()
    hub._splits.cache_clear()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data(name: str, **fields: Any) -> DataConfig:
    return DataConfig.model_validate({**preset(name), **fields})


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def hub_folder(folder: Path, **splits: list[dict[str, Any]]) -> str:
    for split, rows in splits.items():
        written(folder / "set" / f"{split}.jsonl", rows)
    return str(folder / "set")


def test_columns_are_renamed_and_the_last_place_of_the_pattern_is_the_answer(folder: Path) -> None:
    rows = [{**row, "part": "train", "grade": 3, "split": "test"} for row in GSM8K]
    path = str(written(folder / "a.jsonl", rows))
    columns = {"problem": "question", "split": "part", "level": "grade"}
    (first, second, *_) = load_split(data("jsonl", path=path, **{**PATTERN, "columns": columns}), "train")
    assert (second.text, second.answer, second.level) == ("1 and 1?", "2", 3)
    assert second.solution == "so #### 1\n#### 2"  # the text that the answer was found in
    assert first.answer == "0"


def test_a_whole_match_without_a_group_and_a_column_for_the_solution(folder: Path) -> None:
    path = str(written(folder / "a.jsonl", [{"problem": "p", "answer": "x = 12 cm", "how": "easily"}]))
    (problem,) = load_split(
        data("jsonl", path=path, answer_pattern=r"\d+", columns={"solution": "how"}), "test"
    )
    assert (problem.answer, problem.solution) == ("12", "easily")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, 'its answer is a solution that ends in "####'),
        (
            {"columns": {"problem": "quest"}},
            r"no column quest \(data.columns.problem\); it has question, answer",
        ),
        ({"answer_pattern": "@(.)"}, r"data.answer_pattern=@\(.\) is nowhere in its answer"),
    ],
)
def test_what_does_not_fit_the_rows_names_the_row(folder: Path, fields: dict[str, Any], words: str) -> None:
    path = str(written(folder / "a.jsonl", [{**row, "split": "train"} for row in GSM8K]))
    with pytest.raises(ConfigError, match=rf"a.jsonl, line 1: {words}"):
        check_data(data("jsonl", path=path, answer_range=None, **fields))


@pytest.mark.parametrize(
    ("pattern", "words"), [("(", "no regular expression"), ("(a)(b)", "2 groups; mark the answer with one")]
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        data("jsonl", path="a.jsonl", answer_pattern=pattern)


def test_a_hub_data_set_has_its_own_splits_and_a_tenth_to_choose_by(folder: Path) -> None:
    where = hub_folder(folder, train=GSM8K, test=GSM8K[:7])
    config = data("hub", hub_id=where, **PATTERN)
    train, validation = load_split(config, "train"), load_split(config, "validation")
    assert len(train) + len(validation) == 60 and 0 < len(validation) < 20
    assert not {p.text for p in train} & {p.text for p in validation}
    assert [p.answer for p in load_split(config, "test")] == [str(2 * i) for i in range(7)]
    assert load_split(config, "perturbed") == load_split(config, "heldout") == []
    assert {p.split for p in train} == {"train"} and len({p.id for p in train + validation}) == 60
    check_data(config)
    assert set(data_report(config)) == {"train", "validation", "test"}


def test_splits_of_the_hub_go_by_other_names(folder: Path) -> None:
    where = hub_folder(folder, train=GSM8K[:40], validation=GSM8K[40:50], test=GSM8K[50:])
    swapped = data("hub", hub_id=where, hub_splits={"test": "validation", "validation": "test"}, **PATTERN)
    assert [p.answer for p in load_split(swapped, "test")] == [str(2 * i) for i in range(40, 50)]
    assert len(load_split(swapped, "train")) == 40  # it has a validation split: nothing is taken from it
    missing = data("hub", hub_id=where, hub_splits={"train": "main"}, **PATTERN)
    with pytest.raises(ConfigError, match=r"data.hub_splits.train=main: .* has train, validation, test"):
        check_data(missing)


def test_a_hub_data_set_names_a_run_by_its_content(folder: Path) -> None:
    where = hub_folder(folder, train=GSM8K, test=GSM8K[:7])
    first = data_fingerprint(data("hub", hub_id=where, **PATTERN))
    assert data_fingerprint(data("hub", hub_id=where, hub_revision="main", **PATTERN))["content"]
    hub._splits.cache_clear()
    hub_folder(folder, train=[*GSM8K[:-1], {"question": "other", "answer": "#### 5"}])
    changed = data_fingerprint(data("hub", hub_id=where, **PATTERN))
    assert changed["content"] != first["content"] and changed["columns"] == first["columns"]


def test_the_hub_is_asked_for_the_config_and_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(path: str, config: str | None, **more: Any) -> dict[str, Any]:
        asked.append((path, config, more))
        return {"train": GSM8K}

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    config = data("hub", hub_id="a/b", hub_config="main", hub_revision="abc", **PATTERN)
    assert len(load_split(config, "train")) > 40 and len(load_split(config, "validation")) > 0
    assert asked == [("a/b", "main", {"revision": "abc"})]  # once a process


def test_a_hub_data_set_that_is_not_there_is_one_line(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.hub_id=/no/where cannot be read from the hub") as found:
        check_data(data("hub", hub_id="/no/where"))
    assert "\n" not in str(found.value)


def test_a_function_gives_rows_and_its_parameters_name_the_run(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "def rows(number=4):\n"
        "    for i in range(number):\n"
        "        yield {'problem': f'{i}', 'answer': i, 'split': 'train' if i else 'test'}\n"
    )
    config = data("function", function={"path": "mine.py:rows"})
    assert [p.answer for p in load_split(config, "train")] == ["1", "2", "3"]
    assert [p.id for p in load_split(config, "test")] == ["function-1"]
    more = data("function", function={"path": "mine.py:rows", "params": {"number": 9}})
    assert len(load_split(more, "train")) == 8
    assert data_fingerprint(more) != data_fingerprint(config)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 3", "it gave a int; return a list of mappings"),
        ("return ['a']", "row 1: a str, not a mapping"),
        ("return {'problem': 'a'}", "it gave a dict; return a list of mappings"),
        ("return [{'problem': 'a'}]", "row 1: no answer"),
        ("return [{'problem': 'a', 'answer': 1, 'split': 'dev'}]", "row 1: split='dev' is none of"),
        ("return 1 / 0", r"ZeroDivisionError: division by zero \(line 2\)"),
        ("import random; return [{'problem': random.random(), 'answer': 1}]", "two calls gave other rows"),
    ],
)
def test_what_a_function_gives_wrongly_is_one_line(folder: Path, body: str, words: str) -> None:
    (folder / "mine.py").write_text(f"def rows():\n    {body}\n")
    with pytest.raises(ConfigError, match=rf"mine.py:rows.*{words}") as found:
        check_data(data("function", function={"path": "mine.py:rows"}))
    assert "\n" not in str(found.value)


def test_a_component_of_a_mixture_may_be_of_the_hub(folder: Path) -> None:
    where = hub_folder(folder, train=GSM8K, test=GSM8K[:7])
    own = {"weight": 0.5, "hub_id": where, **PATTERN}
    twin = {**own, "preset": "hub", "name": "twin"}
    (folder / "set2").mkdir()
    for file in Path(where).iterdir():
        text = file.read_text().replace(" and ", " plus ")
        (folder / "set2" / file.name).write_text(text)
    twin["hub_id"] = str(folder / "set2")
    mixed = data_config({**preset("mixture"), "num_train": 20, "components": {"hub": own, "twin": twin}})
    texts = [p.text for p in load_split(mixed, "train")]
    assert sum(" plus " in t for t in texts) == 10 and len(texts) == 20
