"""A checkpoint -> lm-eval -> EvalRecord. lm-eval is imported only when something is left to evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.evaluation.base_logprobs import BaseLogprobs
from harness.evaluation.eval_metrics import Scored, record_fields
from harness.evaluation.eval_tasks import EvalTask, eval_tasks
from harness.grading.score import Score, score
from harness.grading.steps.chain import Chain, chain_of
from harness.records.lines import write_samples
from harness.records.progress import quiet
from harness.records.reading import RecordError
from harness.records.records import EvalRecord, read_whole_eval, samples_of, write_record
from harness.schema.prompts import make_prompt, own_answer
from harness.schema.run_config import RunConfig
from harness.types import Problem, Prompt, Rollout, RolloutEngine

if TYPE_CHECKING:
    from harness.evaluation.engine_lm import EngineLM

TASK_VERSION = 1.4  # with the version in tasks/_sampled.yaml: raise both when the same text is scored anew

Progress = Callable[[str, int, int], None]
Scorers = Mapping[str, Callable[[Sequence[Prompt], Sequence[Rollout]], list[float]]]


def evaluate(
    engine: RolloutEngine,
    *,
    config: RunConfig,
    encode: Callable[[str, str], list[int]],
    checkpoint: str,
    step: int,
    folder: Path,
    run_id: str | None,
    base_id: str | None,
    eval_seed: int,
    progress: Progress | None = None,
    scorers: Callable[[], Scorers] = dict,
    base_scorer: Callable[[], BaseLogprobs] | None = None,
) -> list[EvalRecord]:
    """Evaluate every split and benchmark that has problems: k samples and greedy, in one lm-eval call.

    Every split is also sampled at `eval.temperatures`, in the same call and with the same seeds.
    Writes folder/eval/<checkpoint>-<key>/<task>.json and, before it, <task>.samples.jsonl.gz. A task whose
    record has this protocol's key is not done again, and a task's numbers do not depend on which others are
    done, so an interrupted evaluation ends with the numbers of an uninterrupted one (`seconds` apart).
    `progress` gets (task, completions done, completions in all). `scorers` gives the reward models of
    `eval.rerank`, by name; it is called only when a split is left to evaluate. `base_scorer` gives the base
    as a scorer of completions, for problems of several parts; it is called only if a chain is valid.
    """
    asked = [task for task in eval_tasks(config) if not (task.base_only and step)]
    problems = {task.lm_eval_name(): (task, found) for task in asked if (found := task.problems())}
    done = {name: _existing(t.record_path(folder, checkpoint), t.key) for name, (t, _) in problems.items()}
    missing = [task for name, (task, _) in problems.items() if done[name] is None]
    if not missing:
        return _present(done)
    lm = _run_lm_eval(engine, missing, encode, step, eval_seed, progress)
    rerank = scorers() if any(task.rerank for task in missing) else {}
    for task in missing:
        start, path = time.perf_counter(), task.record_path(folder, checkpoint)
        sampled, greedy = _scored(lm, *problems[task.lm_eval_name()])
        record = eval_record(
            task,
            sampled,
            greedy,
            rerank=_rerank_scores(rerank if task.rerank else {}, sampled, task, encode),
            base_logprobs=_base_logprobs(base_scorer, sampled, task, encode),
            checkpoint=path.parent.name,
            step=step,
            run_id=run_id,
            base_id=base_id,
            eval_sampling_seed=eval_seed,
            seconds=_sampling_seconds(lm, task),
        )
        record.seconds += time.perf_counter() - start
        record.samples_sha256 = write_samples(samples_of(path), sample_rows(sampled, greedy))
        write_record(path, record)
        done[task.lm_eval_name()] = record
    score.cache_clear()  # its keys are whole completions, and another checkpoint has others
    chain_of.cache_clear()
    return _present(done)


def _present(done: Mapping[str, EvalRecord | None]) -> list[EvalRecord]:
    return [record for record in done.values() if record is not None]


def eval_record(
    task: EvalTask,
    sampled: Sequence[Scored],
    greedy: Sequence[Scored] | None,
    *,
    rerank: Mapping[str, list[list[float]]] | None = None,
    **about: Any,
) -> EvalRecord:
    """The record of a task. `about` are its other fields: checkpoint, step, run, base, seed, seconds.

    With lengths in words no metric of truncation is given.
    """
    record = EvalRecord(
        key=task.key,
        task=task.task_name(),
        task_version=TASK_VERSION,
        split=task.label,
        template=task.data.template,
        temperature=task.temperature,
        top_p=task.top_p,
        max_new_tokens=task.max_new_tokens,
        lm_eval_version=version("lm_eval"),
        sampled_from=task.sampled_from(),
        **record_fields(sampled, greedy, rerank),
        **about,
    )
    if record.length_unit == "words":
        record.metrics = {name: x for name, x in record.metrics.items() if "truncated" not in name}
    return record


def _existing(path: Path, key: str) -> EvalRecord | None:
    """The record of this protocol, or None if it is missing, damaged or of another protocol."""
    if not path.exists() or not samples_of(path).exists():
        return None
    try:
        record = read_whole_eval(path)
    except RecordError:
        return None
    return record if record.key == key and record.task_version == TASK_VERSION else None


def _run_lm_eval(
    engine: RolloutEngine,
    tasks: Sequence[EvalTask],
    encode: Callable[[str, str], list[int]],
    step: int,
    eval_seed: int,
    progress: Progress | None,
) -> EngineLM:
    """Run lm-eval once over these tasks. Returns the model, which stores the rollouts."""
    from lm_eval.evaluator import evaluate as lm_evaluate
    from lm_eval.tasks import TaskManager

    from harness.evaluation.engine_lm import EngineLM

    lm = EngineLM(engine, encode=encode, eval_seed=eval_seed, policy_step=step, progress=progress)
    with quiet("lm_eval"):  # it draws a bar for each task's prompts and warns of intended settings
        configs = [task.task_config(variant) for task in tasks for variant in task.variants]
        loaded = TaskManager(include_defaults=False).load(configs)
        lm_evaluate(lm, loaded, bootstrap_iters=0, log_samples=False)
    return lm


def scored(task: EvalTask, problem: Problem, rollouts: Sequence[Rollout]) -> Scored:
    """Rollouts of one problem with the grader's and the step check's verdicts on each one's own answer."""
    rules, symbolic = task.rules, task.data.symbolic
    texts = [own_answer(rollout.text, task.data.template) for rollout in rollouts]
    verdicts = tuple(
        score(text, problem.answer, rules, symbolic, problem.exact, problem.text) for text in texts
    )
    return Scored(problem, tuple(rollouts), verdicts, _chains(problem, texts, verdicts))


def _chains(problem: Problem, texts: Sequence[str], verdicts: Sequence[Score]) -> tuple[Chain | None, ...]:
    """The chain of each completion with steps, for a problem of several parts."""
    if not problem.parts:
        return ()
    return tuple(
        chain_of(text, problem=problem.text, answer=verdict.extracted, parts=problem.parts)
        if verdict.stepped
        else None
        for text, verdict in zip(texts, verdicts, strict=True)
    )


def _base_logprobs(
    scorer: Callable[[], BaseLogprobs] | None,
    sampled: Sequence[Scored],
    task: EvalTask,
    encode: Callable[[str, str], list[int]],
) -> list[list[float | None]] | None:
    """log p under the base of every valid chain, [problem][sample]; None where there can be none."""
    if scorer is None or not all(row.chains for row in sampled):
        return None
    found: list[list[float | None]] = [[None] * len(row.rollouts) for row in sampled]
    places = [
        (i, j) for i, row in enumerate(sampled) for j in range(len(row.rollouts)) if row.is_valid_chain(j)
    ]
    if places:
        prompts = {i: make_prompt(sampled[i].problem, task.data.template, encode) for i, _ in places}
        rollouts = [sampled[i].rollouts[j] for i, j in places]
        values = scorer()([prompts[i] for i, _ in places], rollouts, task.temperature)
        for (i, j), value in zip(places, values, strict=True):
            found[i][j] = value
    return found


def _scored(
    lm: EngineLM, task: EvalTask, problems: Sequence[Problem]
) -> tuple[list[Scored], list[Scored] | None]:
    """(samples, greedy) of each problem, scored."""

    def rows(variant: str) -> list[Scored]:
        by_document = lm.rollouts[task.lm_eval_name(variant)]
        assert len(by_document) == len(problems), (task.name, len(by_document), len(problems))
        return [scored(task, p, by_document[i]) for i, p in enumerate(problems)]

    return rows("k"), rows("greedy") if task.greedy else None


def _sampling_seconds(lm: EngineLM, task: EvalTask) -> float:
    return sum(lm.seconds[task.lm_eval_name(variant)] for variant in task.variants)


def _rerank_scores(
    scorers: Scorers, sampled: Sequence[Scored], task: EvalTask, encode: Callable[[str, str], list[int]]
) -> dict[str, list[list[float]]]:
    """Each reward model's score of each sample, [problem][sample], by the model's name."""
    if not scorers:
        return {}
    prompts = [make_prompt(row.problem, task.data.template, encode) for row in sampled]
    repeated = [prompt for prompt, row in zip(prompts, sampled, strict=True) for _ in row.rollouts]
    rollouts = [rollout for row in sampled for rollout in row.rollouts]
    found = {}
    for name, score_outputs in scorers.items():
        flat = iter(score_outputs(repeated, rollouts))
        found[name] = [[next(flat) for _ in row.rollouts] for row in sampled]
    return found


def sample_rows(sampled: Sequence[Scored], greedy: Sequence[Scored] | None) -> Iterator[dict[str, Any]]:
    """Every completion with its problem, reference and score; greedy ones follow with sample_idx null."""
    for rows, is_greedy in ((sampled, False), (greedy or [], True)):
        for row in rows:
            for i, (rollout, verdict) in enumerate(zip(row.rollouts, row.scores, strict=True)):
                yield {
                    "problem_id": row.problem.id,
                    "sample_idx": None if is_greedy else i,
                    "problem": row.problem.text,
                    "reference": row.problem.answer,
                    "completion": rollout.text,
                    "correct": verdict.correct,
                    "extracted": verdict.extracted,
                    "reason": verdict.reason,
                    "answer": verdict.vote,
                    "num_steps": verdict.num_steps,
                    "num_wrong_steps": verdict.num_wrong_steps,
                    "num_unsourced_steps": verdict.num_unsourced_steps,
                    "last_step_answers": verdict.last_step_answers,
                    "statements": verdict.statements,
                    "length": len(rollout.completion_ids),
                    "finish_reason": rollout.finish_reason,
                }
