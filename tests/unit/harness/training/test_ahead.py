"""Grading while the engine decodes: the same grades, made earlier."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.grading.compare import symbolic
from harness.rollout.native import NativeEngine
from harness.training import ahead as module
from harness.training.ahead import GradingAhead
from harness.training.experience import sample, score
from harness.types import Problem, Prompt, SamplingParams
from tests.unit.harness.tiny import run_on_untrained_base


def test_each_request_is_named_once_as_it_ends_with_its_own_tokens(tmp_path: Path) -> None:
    run = run_on_untrained_base(tmp_path, "rollout.max_batch_size=3")  # 8 requests through 3 rows
    assert isinstance(run.engine, NativeEngine)
    prompts = [Prompt(str(i), "none", "", (5 + i, 6)) for i in range(8)]
    params = SamplingParams(max_new_tokens=12, logprobs=True)
    told: dict[int, list[int]] = {}

    def on_end(place: int, tokens: list[int]) -> None:
        assert place not in told
        told[place] = tokens

    # Every third token ends an output, so that they end at different times.
    run.engine._eos = frozenset(range(0, run.models.policy.dims.vocab_size, 3))
    plain = run.engine.generate(prompts, params=params, seeds=range(8))
    found = run.engine.generate(prompts, params=params, seeds=range(8), on_end=on_end)
    assert found == plain and len({len(r.completion_ids) for r in found}) > 2
    for place, rollout in enumerate(found):
        end = len(rollout.completion_ids) - (rollout.finish_reason == "stop")
        assert told[place] == list(rollout.completion_ids[:end])


def test_a_step_has_the_grades_that_it_has_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs are replaced by answers that only a comparison of formulas finds equal, or different."""
    texts = [r"so \boxed{1+x}", r"so \boxed{x-1}", r"\boxed{\frac{2x+2}{2}}", "no answer"]
    asked: list[str] = []

    def compare(gold: str, pred: str, *, gold_is_number: bool = False) -> tuple[bool, str]:
        asked.append(threading.current_thread().name)
        return symbolic_equal(pred), "equal formulas"

    def symbolic_equal(pred: str) -> bool:
        return "x-1" not in pred

    monkeypatch.setattr(symbolic, "compare", compare)
    groups = {}
    for use in ("true", "false"):
        run = run_on_untrained_base(tmp_path / use, f"data.symbolic={use}", "rollout.group_size=4")
        monkeypatch.setattr(type(run), "decode", lambda self, ids: texts[sum(ids) % 4])
        problems = [replace(p, answer="x+1") for p in run.problems[:4]]
        rollouts = sample(run, problems, 0)
        rollouts = [replace(r, text=texts[_ids(r) % 4]) for r in rollouts]
        if use == "true":
            assert run.current.ahead is not None
            assert all(future.result() for future in run.current.ahead.futures.values())
            assert asked and all("ThreadPool" in name for name in asked), "nothing was compared ahead"
            begun = len(asked)
        groups[use] = score(run, problems, rollouts)
        assert len(asked) == begun, "something was compared twice"
        assert run.current.ahead is None
    # With `symbolic` the grades are those of comparing in order, one after another.
    expected = [symbolic_equal(r.text) and r.text != "no answer" for g in groups["true"] for r in g.rollouts]
    assert [x.correct for g in groups["true"] for x in g.grades] == expected
    assert len(set(expected)) == 2
    assert [g.rollouts for g in groups["true"]] == [g.rollouts for g in groups["false"]]


def test_what_was_not_graded_ahead_or_has_another_text_is_graded_in_the_end() -> None:
    problem = Problem(id="p", dataset="d", split="train", text="?", answer="7")
    found = GradingAhead([problem], 3, lambda ids: r"\boxed{7} and more", ("boxed",))
    for place in (0, 2):
        found.on_end(place, [1])
    grades = found.grades([r"\boxed{7} and more", r"\boxed{7}", r"\boxed{8"])  # 2 was cut at a stop string
    assert [x.correct for x in grades] == [True, True, False]


def _ids(rollout: object) -> int:
    ids = rollout.completion_ids
    return sum(ids[: len(ids) - (rollout.finish_reason == "stop")])


def test_an_error_of_a_comparison_is_raised_when_grading(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise RuntimeError("the comparison broke")

    monkeypatch.setattr(module, "grade", broken)
    problem = Problem(id="p", dataset="d", split="train", text="?", answer="x")
    found = GradingAhead([problem], 2, lambda ids: "", ("boxed",))
    found.on_end(1, [1, 2])
    with pytest.raises(RuntimeError, match="broke"):
        found.grades(["", ""])
