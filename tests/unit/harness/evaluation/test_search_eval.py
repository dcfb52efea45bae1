"""Searches at evaluation: records worked by hand, skipping, damage, keys, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.evaluation.search_eval import evaluate_search
from harness.identity import eval_key, run_id, search_key
from harness.launch.job_checks import check_jobs
from harness.launch.jobs import Job
from harness.launch.status import mark_evaluated, unevaluated
from harness.records.lines import read_samples
from harness.records.records import samples_of
from harness.records.search import SearchRecord, search_paths, trees_of
from harness.reward_models.rerank import scorers
from harness.schema.run_config import ConfigError, RunConfig
from harness.seeds import derive
from harness.types import Prompt, Rollout
from tests.unit.harness.evaluation.test_evaluate import ROWS, config, no_network
from tests.unit.harness.tiny import configure, untrained_base

__all__ = ["config", "no_network"]
# Outputs in bytes, as tokens; 0 ends one. p0 is 1+2, p1 2+2.
TEXTS = {
    "p0": [r"1+2=4;\boxed{4}", r"1+2=3;\boxed{3}", r"1+2=3;\boxed{5}", r"\boxed{4}"],
    "p1": [r"2+2=5;\boxed{5}", r"2+2=5;\boxed{4}", r"\boxed{5}", r"2+2=4;\boxed{5}"],
}
CODEC: Any = SimpleNamespace(
    prompt_ids=lambda text, template: list(text.encode()), decode=lambda ids: bytes(ids).decode()
)
SEED = 7


class TextEngine:
    """Says the text that a simulation's seed names, or any other that goes on from what is given."""

    def __init__(self) -> None:
        self.num_calls = 0

    def keeping_prefixes(self) -> AbstractContextManager[None]:
        return nullcontext()

    def generate(
        self, prompts: Sequence[Prompt], *, seeds: Sequence[int], limits: Sequence[int], **_: Any
    ) -> list[Rollout]:
        self.num_calls += 1
        rollouts = []
        for prompt, seed, limit in zip(prompts, seeds, limits, strict=True):
            texts, number = TEXTS[prompt.problem_id], _simulation(prompt.problem_id, seed)
            given = bytes(prompt.token_ids).decode()[len(prompt.text) :]
            fitting = [text for text in texts if text.startswith(given)]
            ids = (*fitting[number % len(fitting)][len(given) :].encode(), 0)[:limit]
            finish = "stop" if ids[-1] == 0 else "length"
            rollouts.append(Rollout(prompt.problem_id, number, ids, "", None, finish))
        return rollouts


def _simulation(problem: str, seed: int) -> int:
    return next(i for i in range(99) if derive(SEED, problem, i) == seed)


def asked(config: RunConfig, *searches: dict[str, Any]) -> RunConfig:
    whole = config.model_dump()
    whole["eval"]["search"] = list(searches)
    return RunConfig.model_validate(whole)


def run(config: RunConfig, folder: Path, engine: TextEngine, **changes: Any) -> list[SearchRecord]:
    settings = {"checkpoint": "base", "step": 0, "run_id": None, "base_id": "b", "eval_seed": SEED, **changes}
    return evaluate_search(engine, config=config, codec=CODEC, folder=folder, **settings)


def test_best_of_n_by_hand(config: RunConfig, tmp_path: Path) -> None:
    """Texts of 15, 15, 15 and 9 bytes and an end each: outputs begin at 0, 16, 32 and 48, and so again at 58.

    Within 40 tokens three are begun, within 60 five. p0: wrong, right, wrong, wrong, wrong; the votes of five
    are 4, 3, 5, 4, 4. p1: wrong, right, ...; votes 5, 4, 5, 5, 5 (its third has 9 bytes: 0, 16, 32, 42, 58).
    """
    vote = {"fn": "best_of_n", "value": "rollout", "budget": [40, 60]}
    oracle = {"fn": "best_of_n", "value": "oracle", "budget": [1, 40, 60]}
    first, second = run(asked(config, vote, oracle), tmp_path, TextEngine())
    assert first.label == "best_of_n, rollout" and second.label == "best_of_n, oracle (ceiling)"
    assert second.uses_reference and not first.uses_reference
    # Three votes for three answers: the first. p1: 5, 4, 5.
    assert first.outputs == [[3, 3], [5, 5]] and first.correct == [[0, 0], [0, 0]]
    assert first.tokens == [[48, 42], [74, 74]]
    assert second.correct == [[0, 0], [1, 1], [1, 1]] == second.any_right
    assert second.tokens[0] == [16, 16] and second.problem_ids == ["p0", "p1"]
    assert first.num_nodes == [5, 5] and first.sampled_tokens == 148
    path = search_paths(tmp_path)[0]
    rows = read_samples(samples_of(next(p for p in search_paths(tmp_path) if second.key in str(p))))
    assert [row["completion"] for row in rows] == [TEXTS["p0"][1], TEXTS["p1"][1]]
    assert path.parent.parent.name == "search" and path.name == "jsonl_test.json"


def test_mcts_keeps_a_tree_that_a_reader_can_follow(config: RunConfig, tmp_path: Path) -> None:
    search = {"fn": "mcts", "value": "oracle", "budget": 200, "width": 3, "parallel": 1, "trees": 1}
    (record,) = run(asked(config, search), tmp_path, TextEngine())
    (path,) = search_paths(tmp_path)
    (tree,) = read_samples(trees_of(path))
    nodes = tree["nodes"]
    assert tree["problem_id"] == "p0" and record.num_nodes[0] == len(nodes) and record.depth == [2, 2]
    assert {node["text"] for node in nodes if node["parent"] == 0} <= {"1+2=4", "1+2=3", r"\boxed{4}"}
    for node in nodes:
        children = [n for n in nodes if n["parent"] is not None and nodes[n["parent"]] is node]
        assert node["complete"] or node["visits"] == sum(child["visits"] for child in children)
    assert record.correct[0][0] == 1


def test_what_is_there_is_not_searched_again(config: RunConfig, tmp_path: Path) -> None:
    wanted = asked(config, {"fn": "mcts", "value": "oracle", "budget": 60, "trees": 2})
    engine = TextEngine()
    (record,) = run(wanted, tmp_path, engine)
    calls = engine.num_calls
    assert run(wanted, tmp_path, engine) == [] and engine.num_calls == calls
    (path,) = search_paths(tmp_path)

    def flip() -> None:
        path.write_text(path.read_text().replace('"budgets"', '"budget_"'))

    strikes: tuple[Callable[[], object], ...] = (
        path.unlink,
        flip,
        lambda: samples_of(path).write_bytes(gzip.compress(b"{}\n")),
        lambda: trees_of(path).unlink(),
    )
    for strike in strikes:
        strike()
        (again,) = run(wanted, tmp_path, engine)
        kept = {"seconds"}
        assert again.model_dump(exclude=kept) == record.model_dump(exclude=kept)
    more = asked(
        config,
        *(s.model_dump() for s in wanted.eval.search),
        {"fn": "best_of_n", "value": "oracle", "budget": 9},
    )
    assert [r.label for r in run(more, tmp_path, engine)] == ["best_of_n, oracle (ceiling)"]


def test_a_checkpoint_is_evaluated_once_its_searches_are(config: RunConfig, tmp_path: Path) -> None:
    wanted = asked(config, {"fn": "best_of_n", "value": "oracle", "budget": 9})
    mark_evaluated(config, tmp_path, 0)
    assert unevaluated(config, 0, tmp_path) is None
    assert unevaluated(wanted, 0, tmp_path) == "an evaluation of the base is missing"
    mark_evaluated(wanted, tmp_path, 0)  # without a record it is still asked for
    assert unevaluated(wanted, 0, tmp_path) == "an evaluation of the base is missing"
    run(wanted, tmp_path, TextEngine())
    mark_evaluated(wanted, tmp_path, 0)
    assert unevaluated(wanted, 0, tmp_path) is None
    (path,) = search_paths(tmp_path)
    path.write_text(path.read_text()[:-9])
    assert str(path) in str(unevaluated(wanted, 0, tmp_path))


def test_a_key_is_the_searchs_own() -> None:
    plain = configure()

    def key(*lines: str, **changes: Any) -> str:
        search = {"fn": "mcts", "value": "process", "budget": 60, **changes}
        text = json.dumps(search).replace('"', "")
        found = configure(f"eval.search=[{text}]", *lines)
        assert lines or (eval_key(found) == eval_key(plain) and run_id(found) == run_id(plain))
        return search_key(found, found.eval.search[0])

    first = key()
    assert key(name="mine") == first == key("eval.greedy=false")
    others = [
        *(
            key(**{name: value})
            for name, value in {"budget": 61, "width": 5, "c_init": 2.0, "trees": 1}.items()
        ),
        key(fn="best_of_n"),
        key(value="outcome"),
        key("eval.process_model.epochs=9"),
        key("eval.temperature=0.5"),
        key("dtype=bfloat16"),
    ]
    assert len({first, *others}) == len(others) + 1


def test_values_of_learned_models_come_from_the_bases_own(tmp_path: Path) -> None:
    """Both models are trained once, and a process value is the least over the steps so far."""
    lines = [
        f"output_dir={tmp_path}",
        "eval.k=2",
        "eval.max_new_tokens=8",
        "eval.outcome_model.num_problems=6",
        "eval.process_model.num_problems=6",
        "eval.search=[{fn: best_of_n, value: process, budget: 9},{fn: mcts, value: outcome, budget: 9}]",
    ]
    found = configure(*lines)
    assert found.eval.reward_models == ["outcome", "process"] and found.trains_reward_model
    base = untrained_base(tmp_path / "bases" / "b")
    models = scorers(found, base, "cpu", found.eval.reward_models)
    assert list(models) == ["outcome", "process"] and scorers(found, base, "cpu") == {}


def test_what_cannot_be_searched_is_one_line() -> None:
    nothing = configure(
        "data.num_heldout=0", "eval.search=[{fn: mcts, value: oracle, budget: 9, splits: [heldout]}]"
    )
    with pytest.raises(
        ConfigError, match=r"eval\.search: mcts, oracle \(ceiling\) with splits=\[heldout\]: .*name"
    ):
        check_jobs([Job((), {}, nothing)])
    mcts = "{fn: mcts, value: oracle, budget: 9}"
    for search, message in (
        ("{fn: dfs, value: oracle, budget: 9}", r"eval\.search"),
        ("{fn: mcts, value: oracle, budget: 0}", r"eval\.search"),
        (
            f"{mcts},{mcts}",
            "search: mcts, oracle .ceiling. stands twice with the same settings; give each once",
        ),
        ("{fn: mcts, value: process, budget: 9}", "process values .* with process_model=null"),
    ):
        with pytest.raises(ConfigError, match=message):
            configure(f"eval.search=[{search}]", "eval.process_model=null")


def test_rows_have_the_splits_that_the_tests_rely_on() -> None:
    assert [row["id"] for row in ROWS if row["split"] == "test"] == list(TEXTS)
