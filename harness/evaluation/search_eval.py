"""Searches of `eval.search` on a base or checkpoint: each problem's budget spent, an answer chosen, a record.

Simulation i of a problem draws the numbers of the main protocol's sample i, so that searches differ in what
they do with the same luck, and best-of-n's outputs are those that `avg@k` counts (rounding of batches apart).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.data.documents import problems_to_evaluate
from harness.evaluation.eval_tasks import search_files
from harness.evaluation.evaluate import Scorers
from harness.grading.grade import grade
from harness.identity import search_key
from harness.model.files.codec import Codec
from harness.records.lines import write_samples
from harness.records.reading import RecordError
from harness.records.records import samples_of, write_record
from harness.records.search import SearchRecord, read_whole_search, trees_of
from harness.rollout.search.drive import Judged, Reader, Searcher
from harness.rollout.search.judges import learned, oracle
from harness.rollout.search.methods import choose
from harness.rollout.search.outputs import Found
from harness.schema.eval_config import EvalConfig
from harness.schema.prompts import make_prompt, own_answer
from harness.schema.run_config import RunConfig
from harness.schema.search_config import EvalSearchConfig
from harness.seeds import derive
from harness.types import Problem, Prompt, RolloutEngine, SamplingParams

Progress = Callable[[str, int, int], None]


def evaluate_search(
    engine: RolloutEngine,
    *,
    config: RunConfig,
    codec: Codec,
    checkpoint: str,
    step: int,
    folder: Path,
    run_id: str | None,
    base_id: str | None,
    eval_seed: int,
    scorers: Callable[[], Scorers] = dict,
    progress: Progress = lambda task, done, total: None,
) -> list[SearchRecord]:
    """Run each search whose record is missing or damaged, and write it; returns those that were written.

    `scorers` gives the reward models that values ask for, by name; it is called at most once. Searches over
    independent outputs draw the same ones, so the first decodes them for all: the others' `seconds` are
    without.
    """
    missing, data = missing_searches(config, folder, checkpoint), config.measured_data
    reader, params = Reader(codec.decode, tuple(data.answer_rules)), _params(config.eval)
    start_search = partial(Searcher, engine=engine, params=params, reader=reader, policy_step=step)
    known: dict[str, dict[Any, Any]] = {split: {} for _, split, _ in missing}
    models = scorers() if any(asked.learned for asked, *_ in missing) else {}
    written: list[SearchRecord] = []
    for place, (asked, split, path) in enumerate(missing):
        problems = problems_to_evaluate(data, split, config.eval.max_train_problems)
        if not problems:
            continue
        progress(f"{asked.label} on {split}", place, len(missing))
        start = time.perf_counter()
        prompts = [make_prompt(p, data.template, codec.prompt_ids) for p in problems]
        searcher = start_search(
            config=asked,
            seed=_seeds(problems, eval_seed),
            judge=_judge(asked, problems, prompts, config, models),
            known=known[split] if asked.independent else None,
        )
        found = searcher.run(problems, prompts)
        right = [_right(config, problem, of) for problem, of in zip(problems, found, strict=True)]
        record = SearchRecord(
            key=search_key(config, asked),
            task=path.stem,
            split=split,
            **_asked_fields(asked),
            checkpoint=path.parent.name,
            step=step,
            run_id=run_id,
            base_id=base_id,
            eval_sampling_seed=eval_seed,
            **config.eval.model_dump(include={"temperature", "top_p", "max_new_tokens"}),
            **record_fields(asked, problems, found, right),
            seconds=time.perf_counter() - start,
        )
        if asked.trees:
            write_samples(trees_of(path), _trees(problems[: asked.trees], found, codec.decode))
        _write(path, record, list(_chosen(asked, problems, found, right)))
        written.append(record)
    return written


def _write(path: Path, record: SearchRecord, chosen: list[dict[str, Any]]) -> None:
    """The chosen outputs, then the record that vouches for them."""
    record.samples_sha256 = write_samples(samples_of(path), chosen)
    write_record(path, record)


def _asked_fields(asked: EvalSearchConfig) -> dict[str, Any]:
    """The fields of a record that say which search it was."""
    return {
        "label": asked.label,
        "fn": asked.fn,
        "value": asked.value,
        "search": asked.model_dump(),
        "uses_reference": asked.value == "oracle",
    }


def missing_searches(
    config: RunConfig, folder: Path, checkpoint: str
) -> list[tuple[EvalSearchConfig, str, Path]]:
    """`search_files`, less those whose record is there and whole."""
    found = []
    for asked, split, path in search_files(config, folder, checkpoint):
        try:
            read_whole_search(path)
        except RecordError:
            found.append((asked, split, path))
    return found


def record_fields(
    asked: EvalSearchConfig,
    problems: Sequence[Problem],
    found: Sequence[Found],
    right: Sequence[Sequence[bool]],
) -> dict[str, Any]:
    """The fields of a record that come from what was found; `right` is by problem and output."""
    chosen = [[choose(of, asked.fn, budget) for of in found] for budget in asked.budget]
    within = [[of.within(budget) for of in found] for budget in asked.budget]
    return {
        "n_problems": len(problems),
        "problem_ids": [p.id for p in problems],
        "topics": [p.topic for p in problems],
        "levels": [p.level for p in problems],
        "budgets": asked.budget,
        "correct": [
            [int(i is not None and ok[i]) for i, ok in zip(row, right, strict=True)] for row in chosen
        ],
        "any_right": [[int(any(ok[:n])) for n, ok in zip(row, right, strict=True)] for row in within],
        "tokens": [[of.cost(budget) for of in found] for budget in asked.budget],
        "outputs": within,
        "num_nodes": [of.num_nodes for of in found],
        "depth": [of.depth for of in found],
        "sampled_tokens": sum(of.sampled for of in found),
    }


def _params(settings: EvalConfig) -> SamplingParams:
    return SamplingParams(
        max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, top_p=settings.top_p
    )


def _seeds(problems: Sequence[Problem], eval_seed: int) -> Callable[[int, int], int]:
    return lambda place, simulation: derive(eval_seed, problems[place].id, simulation)


def _judge(
    asked: EvalSearchConfig,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    config: RunConfig,
    models: Scorers,
) -> Judged | None:
    data = config.measured_data
    if asked.learned:
        return learned(models[asked.value], prompts)
    if asked.value == "oracle":
        rules = tuple(data.answer_rules)
        return oracle(problems, rules=rules, symbolic=data.symbolic, template=data.template)
    return None


def _right(config: RunConfig, problem: Problem, found: Found) -> list[bool]:
    """Whether each output is right, by the grader that every evaluation has."""
    data = config.measured_data
    texts = [own_answer(output.text, data.template) for output in found.outputs]
    return [
        grade(
            text,
            problem.answer,
            rules=tuple(data.answer_rules),
            use_symbolic=data.symbolic,
            exact=problem.exact,
        ).correct
        for text in texts
    ]


def _chosen(
    asked: EvalSearchConfig,
    problems: Sequence[Problem],
    found: Sequence[Found],
    right: Sequence[Sequence[bool]],
) -> list[dict[str, Any]]:
    """The output chosen at the largest budget, a row a problem."""
    rows = []
    for problem, of, ok in zip(problems, found, right, strict=True):
        place = choose(of, asked.fn, asked.most)
        if place is not None:
            output = of.outputs[place]
            rows.append(
                {
                    "problem_id": problem.id,
                    "problem": problem.text,
                    "reference": problem.answer,
                    "completion": output.text,
                    "correct": ok[place],
                    "answer": output.answer,
                    "value": of.worth()[place],
                    "simulation": output.simulation,
                    "tokens": of.cost(asked.most),
                    "outputs": of.within(asked.most),
                }
            )
    return rows


def _trees(
    problems: Sequence[Problem], found: Sequence[Found], decode: Callable[[Sequence[int]], str]
) -> list[dict[str, Any]]:
    """The trees of these problems with their texts; of a search without one, its root alone."""
    rows = []
    for problem, of in zip(problems, found, strict=False):
        nodes = [
            {**{k: v for k, v in row.items() if k != "ids"}, "text": decode(row["ids"])} for row in of.rows
        ]
        rows.append({"problem_id": problem.id, "problem": problem.text, "nodes": nodes})
    return rows
