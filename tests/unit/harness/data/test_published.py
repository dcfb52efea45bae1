"""Published problems: the folder's files and the hub's columns. No problem text is kept here."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.data import aime24, dapo_17k, gsm8k, hendrycks_math, sources
from harness.data.load import PUBLISHED, data_fingerprint, load_split
from harness.schema.data_config import DataConfig

needs_data = pytest.mark.skipif("MATH_DATA_DIR" not in os.environ, reason="MATH_DATA_DIR is not set")
SETTINGS = {"template": "question", "answer_rules": ["boxed"], "answer_range": None}

# name -> rows as the hub has them (its column names and types), and the problem that comes of the first.
HUB = {
    "openai/gsm8k": [{"question": "q", "answer": "2*600=<<2*600=1200>>1200\n#### 1,200"}],
    "EleutherAI/hendrycks_math": [
        {"problem": "q", "level": "Level 5", "type": "Algebra", "solution": r"so \boxed{\frac{1}{2}}."}
    ],
    "di-zhang-fdu/AIME_1983_2024": [
        {"ID": "1983-1", "Year": 1983, "Problem Number": 1, "Question": "q", "Answer": "60", "Part": None},
        {"ID": "2024-I-1", "Year": 2024, "Problem Number": 1, "Question": "q2", "Answer": "7", "Part": "I"},
    ],
    "math-ai/amc23": [{"id": 0, "question": "q", "answer": 27.0, "url": "u"}],
    "Maxwell-Jia/AIME_2024": [{"ID": "2024-I-1", "Problem": "q", "Solution": "s", "Answer": 25}],
    "math-ai/aime25": [{"problem": "q", "answer": "70", "id": "0"}],
    "MathArena/aime_2026": [{"problem_idx": 1, "problem": "q", "answer": 70, "problem_type": ["Algebra"]}],
    "MathArena/hmmt_feb_2025": [{"problem_idx": 1, "problem": "q", "answer": r"\frac{1}{2}"}],
    "MathArena/hmmt_nov_2025": [{"problem_idx": 1, "problem": "q", "answer": "3"}],
    "MathArena/hmmt_feb_2026": [{"problem_idx": 1, "problem": "q", "answer": r"2\sqrt{3}"}],
    "Hothan/OlympiadBench": [
        {"id": 7, "question": "q", "context": None, "final_answer": ["$(1,1), (3,2)$"], "subfield": "Algebra"}
    ],
    "math-ai/minervamath": [{"question": "q", "answer": "4.5e33"}],
    "HuggingFaceH4/MATH-500": [
        {"problem": "q", "solution": "s", "answer": "x", "subject": "Algebra", "level": 3, "unique_id": "u"}
    ],
    "agentica-org/DeepScaleR-Preview-Dataset": [{"problem": "q", "answer": "-2/3", "solution": ""}],
    "open-r1/DAPO-Math-17k-Processed": [{"prompt": "q", "solution": "34", "data_source": "math_dapo"}],
    "openai/openai_humaneval": [
        {
            "task_id": "HumanEval/0",
            "prompt": "q",
            "canonical_solution": "    return x\n",
            "test": "def check(candidate):\n    assert candidate(1) == 1",
            "entry_point": "f",
        }
    ],
    "google-research-datasets/mbpp": [
        {
            "task_id": 11,
            "text": "Write f.",
            "code": "class P:\n    pass\ndef g(x):\n    return x\ndef f(x):\n    return g(x)",
            "test_list": ["assert sorted(f(1)) == 1", "assert f(2) == 2"],
            "test_setup_code": "",
        }
    ],
}
FIRST = {
    "gsm8k": ("1200", "grade school", None),
    "math": (r"\frac{1}{2}", "Algebra", 5),
    "aime_1983_2023": ("60", None, None),
    "amc23": ("27", None, None),
    "aime24": ("25", None, None),
    "aime25": ("70", None, None),
    "aime26": ("70", None, None),
    "hmmt_feb25": (r"\frac{1}{2}", None, None),
    "hmmt_nov25": ("3", None, None),
    "hmmt_feb26": (r"2\sqrt{3}", None, None),
    "olympiadbench": ("$(1,1), (3,2)$", "Algebra", None),
    "minerva": ("4.5e33", None, None),
    "math500": ("x", "Algebra", 3),
    "deepscaler": ("-2/3", None, None),
    "dapo_17k": ("34", None, None),
}


PROGRAMS = {
    "humaneval": {
        "entry_point": "f",
        "tests": ["def check(candidate):\n    assert candidate(1) == 1\ncheck(f)"],
        "setup": "q",
        "prefix": "q",
    },
    "mbpp": {"entry_point": "f", "tests": ["assert sorted(f(1)) == 1", "assert f(2) == 2"]},
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A stand-in for `datasets.load_dataset`; what is asked of it."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(path: str, config: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((path, config, split))
        return HUB[path]

    monkeypatch.delenv("MATH_DATA_DIR", raising=False)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    sources.hub_rows.cache_clear()
    return asked


@pytest.mark.parametrize("name", sorted(FIRST))
def test_the_hubs_columns_become_problems(name: str, hub: list) -> None:
    source = replace(next(iter(PUBLISHED[name].SOURCES.values())), num_problems=None)
    problems = source.load("train")
    assert (problems[0].answer, problems[0].topic, problems[0].level) == FIRST[name]
    assert problems[0].text == "q" and problems[0].dataset == name
    assert {path for path, _, _ in hub} == {source.hub_id}
    assert len(problems) == len({p.id for p in problems}) == len(hub)  # one row a config; 2024 is left out


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_the_hubs_programming_problems_have_tests(name: str, hub: list) -> None:
    (problem,) = replace(PUBLISHED[name].SOURCE, num_problems=None).load("test")
    assert json.loads(problem.answer) == PROGRAMS[name]
    asked = "Your code should pass these tests:\n\nassert sorted(f(1)) == 1\nassert f(2) == 2"
    assert problem.text == "q" if name == "humaneval" else problem.text.endswith(asked)
    assert problem.id == {"humaneval": "HumanEval/0", "mbpp": "MBPP/11"}[name]
    assert hub == [(PUBLISHED[name].SOURCE.hub_id, *([None] if name == "humaneval" else ["full"]), "test")]


def test_a_context_stands_before_its_question_and_several_values_are_one_answer(
    hub: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": 8, "question": "q", "context": "Let $x>0$.", "final_answer": ["$1$", "3"], "subfield": None}
    monkeypatch.setitem(HUB, "Hothan/OlympiadBench", [row])
    (problem,) = PUBLISHED["olympiadbench"].load("test")
    assert (problem.text, problem.answer, problem.id) == ("Let $x>0$.\nq", "$1$, 3", "8")


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"The roots are \boxed{-2} and \boxed{1}.", "1"),
        (r"$x=\boxed{2}$ or $x=\boxed{3}$", "3"),
        (r"\boxed{25}, as \boxed{24} is not 5 squared", "24"),
        (r"\fbox{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"It is \boxed{7}, so \boxed{8", "7"),
        ("no box", ""),
    ],
)
def test_a_reference_is_the_last_box_alone(solution: str, answer: str) -> None:
    assert sources.last_box(solution) == answer


def test_the_hubs_configs_and_splits_are_asked_for(hub: list) -> None:
    replace(gsm8k.TEST, num_problems=None).load("test")
    replace(hendrycks_math.TRAIN, num_problems=None).load("train")
    dapo_17k.load("train")
    assert hub[0] == ("openai/gsm8k", "main", "test") and hub[-1][1:] == ("all", "train")
    assert [config for _, config, _ in hub[1:-1]] == [
        "algebra",
        "counting_and_probability",
        "geometry",
        "intermediate_algebra",
        "number_theory",
        "prealgebra",
        "precalculus",
    ]


def test_the_hub_is_asked_once_and_its_rows_are_in_the_fingerprint(hub: list) -> None:
    data = DataConfig.model_validate({"name": "d", "dataset": "deepscaler", **SETTINGS})
    first = data_fingerprint(data)
    assert load_split(data, "train") + load_split(data, "validation")
    assert len(hub) == 1 and list(first["content"]) == ["agentica-org/DeepScaleR-Preview-Dataset train"]


def test_a_bad_row_of_the_hub_is_named_by_its_row(hub: list, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = {"problem": "q", "level": "Level ?", "type": "Algebra", "solution": r"so \boxed{}"}
    name = "EleutherAI/hendrycks_math"
    monkeypatch.setitem(HUB, name, [*HUB[name], empty])
    source = replace(hendrycks_math.TRAIN, num_problems=None)
    bad: list[str] = []
    assert len(source.load("train", bad)) == 7  # one of two in each of seven configs
    assert len(bad) == 7 and bad[0].startswith(f"{name}, row 1: no answer")
    with pytest.raises(ValueError, match=r"row 1: no answer.*; and 2 more bad rows"):
        source.load("train")


def test_a_hub_that_cannot_be_reached_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nmore")

    monkeypatch.delenv("MATH_DATA_DIR", raising=False)
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    sources.hub_rows.cache_clear()
    with pytest.raises(
        ValueError, match=r"AIME_2024 cannot be read .*no route\); set MATH_DATA_DIR"
    ) as caught:
        aime24.load("test")
    assert "\n" not in str(caught.value)


@needs_data
def test_the_folder_has_every_problem_once_with_the_answers_of_its_kind() -> None:
    sizes = {
        name: {s: len(PUBLISHED[name].load(s)) for s in ("train", "validation", "test")}
        for name in ("gsm8k", "math", "aime_1983_2023", "amc23", "aime24", "aime25", "math500")
    }
    assert sizes["aime24"] == sizes["aime25"] == {"train": 0, "validation": 0, "test": 30}
    assert sizes["gsm8k"]["train"] + sizes["gsm8k"]["validation"] == 7473 and sizes["gsm8k"]["test"] == 1319
    assert sizes["math"]["train"] + sizes["math"]["validation"] == 7498 and sizes["math"]["test"] == 5000
    for name in ("aime24", "aime25"):
        answers = [p.answer for p in PUBLISHED[name].load("test")]
        assert all(a == str(int(a)) and 0 <= int(a) <= 999 for a in answers)
    assert {p.topic for p in PUBLISHED["math"].load("train")} == set(hendrycks_math.SUBJECTS)


@needs_data
def test_the_level_of_a_gsm8k_problem_is_how_many_calculations_its_solution_has() -> None:
    problems = [p for split in ("train", "validation") for p in gsm8k.load(split)]
    counts = Counter(p.level for p in problems)
    # <<: 95 have none, 404 one, 2,175 two ...; 785 + 287 + 123 + 40 + 3 five or more
    assert counts == {None: 95, 1: 404, 2: 2175, 3: 2137, 4: 1424, 5: 1238}
    data = DataConfig.model_validate({"name": "g", "dataset": "gsm8k", "levels": [1, 2], **SETTINGS})
    assert {p.level for p in load_split(data, "train")} == {1, 2}


@needs_data
def test_validation_is_a_tenth_that_training_never_sees_and_the_seed_decides_which() -> None:
    train, validation = ({p.text for p in gsm8k.load(s)} for s in ("train", "validation"))
    assert not train & validation
    # 7473 × 0.1 = 747, sd sqrt(7473 × 0.09) = 26; 5 sd either way
    assert 617 <= len(validation) <= 877
    assert {p.text for p in gsm8k.load("validation", seed=1)} != validation


def test_copies_of_a_problem_are_on_the_same_side() -> None:
    texts = [f"What is {i} + {i}?" for i in range(200)]
    assert any(sources.in_validation(t, 0) for t in texts)
    assert all(sources.in_validation(t, 0) == sources.in_validation(f" {t.upper()}\n", 0) for t in texts)


def test_the_fingerprint_follows_the_files_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATH_DATA_DIR", str(tmp_path))
    data = DataConfig.model_validate({"name": "a", "dataset": "aime24", **SETTINGS})
    rows = [{"problem": f"q{i}", "answer": i} for i in range(30)]
    path = tmp_path / "aime24.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    first = data_fingerprint(data)
    path.write_text("\n".join(map(json.dumps, [{"problem": "q0", "answer": 7}, *rows[1:]])))
    assert data_fingerprint(data) != first
    assert data_fingerprint(data.model_copy(update={"name": "b"})) == data_fingerprint(data)


@needs_data
def test_a_size_takes_the_first_problems() -> None:
    data = DataConfig.model_validate({"name": "g", "dataset": "gsm8k", "num_test": 50, **SETTINGS})
    assert [p.id for p in load_split(data, "test")] == [p.id for p in gsm8k.load("test")[:50]]
