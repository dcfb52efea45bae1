"""A checkpoint -> lm-eval -> EvalRecord. lm-eval is imported only when something is left to evaluate."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.answers import Rule
from harness.config import RunConfig
from harness.data.documents import problems_to_evaluate
from harness.eval_metrics import Scored, record_fields
from harness.identity import eval_key
from harness.prompts import make_prompt
from harness.records import EvalRecord, RecordError, read_eval, write_record, write_samples
from harness.scoring import score
from harness.types import Problem, Prompt, Rollout, RolloutEngine

if TYPE_CHECKING:
    from harness.engine_lm import EngineLM

TASKS = Path(__file__).resolve().parent.parent / "tasks"
TASK_VERSION = 1.0  # with the version in tasks/_sampled.yaml: raise both when the same text is scored anew

Progress = Callable[[str, int, int], None]
Scorers = Mapping[str, Callable[[Sequence[Prompt], Sequence[Rollout]], list[float]]]


def evaluate(
    engine: RolloutEngine,
    *,
    config: RunConfig,
    encode: Callable[[str], list[int]],
    checkpoint: str,
    step: int,
    folder: Path,
    run_id: str | None,
    base_id: str | None,
    eval_seed: int,
    progress: Progress | None = None,
    scorers: Callable[[], Scorers] = dict,
) -> list[EvalRecord]:
    """Every split of `config.eval.splits` that has problems: k samples and greedy, in one lm-eval call.

    Writes folder/eval/<checkpoint>/<task>.json and, before it, <task>.samples.jsonl.gz. A task whose record
    has this protocol's key is not done again, and a task's numbers do not depend on which others are done, so
    an interrupted evaluation ends with the numbers of an uninterrupted one (`seconds` apart). `progress` gets
    (task, completions done, completions in all). `scorers` gives the reward models of `eval.rerank`, by
    name; it is called only when something is left to evaluate.
    """
    key, out = eval_key(config), folder / "eval" / checkpoint
    splits = {
        s: problems_to_evaluate(config.data, s, config.eval.max_train_problems) for s in config.eval.splits
    }
    splits = {s: problems for s, problems in splits.items() if problems}
    done = {s: _existing(out / f"{_task(config, s)}.json", key) for s in splits}
    missing = [s for s in splits if done[s] is None]
    lm = _run_lm_eval(engine, config, missing, encode, step, eval_seed, progress) if missing else None
    rerank = scorers() if missing and config.eval.rerank else {}
    for split in missing:
        assert lm is not None
        start = time.perf_counter()
        sampled, greedy = _scored(lm, config, split, splits[split])
        scores = {name: _rerank(score, sampled, config, encode) for name, score in rerank.items()}
        task = _task(config, split)
        record = EvalRecord(
            key=key,
            task=task,
            task_version=TASK_VERSION,
            split=split,
            checkpoint=checkpoint,
            step=step,
            run_id=run_id,
            base_id=base_id,
            temperature=config.eval.temperature,
            top_p=config.eval.top_p,
            max_new_tokens=config.eval.max_new_tokens,
            eval_sampling_seed=eval_seed,
            lm_eval_version=version("lm_eval"),
            seconds=lm.seconds[task] + lm.seconds[_task(config, split, "greedy")],
            **record_fields(sampled, greedy, scores),
        )
        record.seconds += time.perf_counter() - start
        write_samples(out / f"{task}.samples.jsonl.gz", _sample_rows(sampled, greedy))
        write_record(out / f"{task}.json", record)
        done[split] = record
    return [record for record in done.values() if record is not None]


def _task(config: RunConfig, split: str, variant: str = "k") -> str:
    return f"{config.data.dataset}_{split}_{variant}"


def _existing(path: Path, key: str) -> EvalRecord | None:
    """A record of this protocol, or None where it is missing, damaged or of another."""
    if not path.exists() or not path.with_suffix(".samples.jsonl.gz").exists():
        return None
    try:
        record = read_eval(path)
    except RecordError:
        return None
    return record if record.key == key and record.task_version == TASK_VERSION else None


def _run_lm_eval(
    engine: RolloutEngine,
    config: RunConfig,
    splits: Sequence[str],
    encode: Callable[[str], list[int]],
    step: int,
    eval_seed: int,
    progress: Progress | None,
) -> EngineLM:
    """One lm-eval call over the tasks of these splits; the rollouts are on what is returned."""
    from lm_eval.evaluator import evaluate as lm_evaluate
    from lm_eval.tasks import TaskManager

    from harness.engine_lm import EngineLM

    lm = EngineLM(
        engine,
        encode=encode,
        eval_seed=eval_seed,
        template=config.data.template,
        policy_step=step,
        progress=progress,
    )
    variants = ("k", "greedy") if config.eval.greedy else ("k",)
    with _quiet():
        configs = [task_config(config, split, variant) for split in splits for variant in variants]
        tasks = TaskManager(include_defaults=False).load(configs)
        lm_evaluate(lm, tasks, bootstrap_iters=0, log_samples=False)
    return lm


def task_config(config: RunConfig, split: str, variant: str) -> dict[str, Any]:
    """The YAML of tasks/aime_gen with this run's data, k and sampling in place of the preset's."""
    from lm_eval.tasks._yaml_loader import load_yaml

    settings = config.eval
    task = load_yaml(TASKS / "aime_gen" / f"aime_gen_{split}_{variant}.yaml")
    options = {**task["generation_kwargs"], "max_gen_toks": settings.max_new_tokens}
    task |= {
        "task": _task(config, split, variant),
        "generation_kwargs": options,
        "dataset_kwargs": {
            "split": split,
            "data": config.data.model_dump(mode="json"),
            "max_train_problems": settings.max_train_problems,
        },
    }
    if variant == "k":
        options |= {"temperature": settings.temperature, "top_p": settings.top_p}
        task["repeats"] = settings.k
        task["filter_list"] = [{"name": "all", "filter": [{"function": "take_first_k", "k": settings.k}]}]
    task.pop("tag", None)
    return task


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval draws a bar for each task's prompts and warns of what is meant; errors still raise."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _scored(
    lm: EngineLM, config: RunConfig, split: str, problems: Sequence[Problem]
) -> tuple[list[Scored], list[Scored] | None]:
    """(samples, greedy) of each problem, scored."""
    rules: tuple[Rule, ...] = tuple(config.data.answer_rules)
    symbolic = config.data.symbolic

    def scores(problem: Problem, rollouts: Sequence[Rollout]) -> Scored:
        verdicts = tuple(score(r.text, problem.answer, rules, symbolic) for r in rollouts)
        return Scored(problem, tuple(rollouts), verdicts)

    def rows(variant: str) -> list[Scored]:
        by_document = lm.rollouts[_task(config, split, variant)]
        assert len(by_document) == len(problems), (split, len(by_document), len(problems))
        return [scores(p, by_document[i]) for i, p in enumerate(problems)]

    return rows("k"), rows("greedy") if config.eval.greedy else None


def _rerank(
    score_outputs: Callable[[Sequence[Prompt], Sequence[Rollout]], list[float]],
    sampled: Sequence[Scored],
    config: RunConfig,
    encode: Callable[[str], list[int]],
) -> list[list[float]]:
    """A reward model's score of each sample, [problem][sample]."""
    prompts = [make_prompt(row.problem, config.data.template, encode) for row in sampled]
    flat = score_outputs(
        [prompt for prompt, row in zip(prompts, sampled, strict=True) for _ in row.rollouts],
        [rollout for row in sampled for rollout in row.rollouts],
    )
    values = iter(flat)
    return [[next(values) for _ in row.rollouts] for row in sampled]


def _sample_rows(sampled: Sequence[Scored], greedy: Sequence[Scored] | None) -> Iterator[dict[str, Any]]:
    """Every completion with its score, problem by problem; the greedy ones follow with sample_idx null."""
    for rows, is_greedy in ((sampled, False), (greedy or [], True)):
        for row in rows:
            for i, (rollout, verdict) in enumerate(zip(row.rollouts, row.scores, strict=True)):
                yield {
                    "problem_id": row.problem.id,
                    "sample_idx": None if is_greedy else i,
                    "completion": rollout.text,
                    "correct": verdict.correct,
                    "extracted": verdict.extracted,
                    "reason": verdict.reason,
                    "answer": verdict.vote,
                    "num_steps": verdict.num_steps,
                    "num_wrong_steps": verdict.num_wrong_steps,
                    "length": len(rollout.completion_ids),
                    "finish_reason": rollout.finish_reason,
                }
