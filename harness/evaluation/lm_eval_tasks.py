"""Any task of lm-eval on a checkpoint, as lm-eval runs it: its prompt, its metrics, its grader.

The checkpoint is loaded by transformers, since many tasks ask for the likelihood of given texts and a rollout
engine samples. Nothing is drawn from the run's seeds: lm-eval's own are the same for every checkpoint.
"""

from __future__ import annotations

import difflib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.evaluation.code_eval import confined
from harness.identity import lm_eval_key
from harness.records.lm_eval import LmEvalRecord, lm_eval_path, read_lm_eval
from harness.records.progress import quiet
from harness.records.reading import RecordError
from harness.records.records import write_record
from harness.schema.eval_config import LmEvalConfig
from harness.schema.prompts import CHAT
from harness.schema.run_config import ConfigError, RunConfig


def check_lm_eval(asked: LmEvalConfig) -> None:
    """Load a task with its documents. Raises ConfigError for an unknown one, or one that cannot be read."""
    where = f"eval.lm_eval.{asked.task}"
    manager = _manager(asked.include_path)
    if asked.task not in manager.all_tasks:
        near = difflib.get_close_matches(asked.task, manager.all_tasks, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "`lm-eval ls tasks` lists its tasks."
        raise ConfigError(f"{where}: lm-eval has no such task; {hint} Or give include_path")
    try:
        with confined(asked.task) as allowed:
            tasks = _loaded(asked)["tasks"]
    except ConfigError:
        raise
    except Exception as error:  # a package, the hub, a YAML: each raises a family of its own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"{where}: cannot be loaded ({reason}); mend that, or leave the task out") from None
    if unsafe := [
        name for name, task in tasks.items() if getattr(task, "UNSAFE_CODE", False) and not allowed
    ]:
        raise ConfigError(
            f"{where}: {unsafe[0]} runs what a model wrote, unconfined; leave it out (humaneval and mbpp, "
            "asked for by name, are run confined)"
        )


def evaluate_lm_eval(
    config: RunConfig,
    weights: Path,
    *,
    folder: Path,
    checkpoint: str,
    step: int,
    run_id: str | None,
    base_id: str | None,
    device: str,
    progress: Callable[[str, int, int], None],
) -> list[LmEvalRecord]:
    """Run each of `eval.lm_eval` whose record is missing or damaged on the weights in the hub's format."""
    missing = []
    for asked in config.eval.lm_eval:
        path = lm_eval_path(folder, checkpoint, lm_eval_key(config, asked), asked.task)
        try:
            read_lm_eval(path)
        except RecordError:
            missing.append((asked, path))
    written: list[LmEvalRecord] = []
    models: dict[int, Any] = {}  # by batch size
    for place, (asked, path) in enumerate(missing):
        progress(asked.task, place, len(missing))
        start = time.perf_counter()
        with quiet("lm_eval"):
            if asked.batch_size not in models:
                models[asked.batch_size] = _model(config, weights, device, asked.batch_size)
            found = _run(models[asked.batch_size], asked, chat=config.measured_data.template in CHAT)
        record = LmEvalRecord(
            key=lm_eval_key(config, asked),
            task=asked.task,
            checkpoint=path.parent.name,
            step=step,
            run_id=run_id,
            base_id=base_id,
            limit=asked.limit,
            num_fewshot=asked.num_fewshot,
            chat_template=config.measured_data.template in CHAT,
            seconds=time.perf_counter() - start,
            lm_eval_version=version("lm_eval"),
            **_fields(found),
        )
        write_record(path, record)
        written.append(record)
    return written


def _model(config: RunConfig, weights: Path, device: str, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=str(weights),
        dtype=config.dtype,
        device=device,
        batch_size=batch_size,
        trust_remote_code=config.model.trust_remote_code,
    )


@lru_cache(maxsize=4)
def _manager(include_path: str | None) -> Any:
    """Index of lm-eval's tasks and a user's own; reading it takes seconds, once a process."""
    from lm_eval.tasks import TaskManager

    with quiet("lm_eval"):
        return TaskManager(include_path=include_path)


def _loaded(asked: LmEvalConfig) -> Any:
    with quiet("lm_eval", "datasets", "huggingface_hub"):
        return _manager(asked.include_path).load([asked.task])


def _run(lm: Any, asked: LmEvalConfig, *, chat: bool) -> Mapping[str, Any]:
    from lm_eval.evaluator import simple_evaluate

    with confined(asked.task) as allowed:
        found: Mapping[str, Any] | None = simple_evaluate(
            lm,
            tasks=[asked.task],
            task_manager=_manager(asked.include_path),
            num_fewshot=asked.num_fewshot,
            limit=asked.limit,
            apply_chat_template=chat,
            bootstrap_iters=0,
            log_samples=True,
            confirm_run_unsafe_code=allowed,
        )
    assert found is not None  # it is None in other processes than the first
    return found


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    """Results by task and group, and scores by document, as a record has them."""
    samples: Mapping[str, list[dict[str, Any]]] = found["samples"]
    hashes = {task: list(dict.fromkeys(row["doc_hash"] for row in rows)) for task, rows in samples.items()}
    return {
        "results": {task: dict(_metrics(row)) for task, row in found["results"].items()},
        "higher_is_better": {
            task: {name: bool(up) for name, up in ups.items() if up is not None}
            for task, ups in found["higher_is_better"].items()
        },
        "versions": {task: str(number) for task, number in found["versions"].items()},
        "scores": {task: _scores(rows) for task, rows in samples.items()},
        "documents": {
            task: hashlib.sha256("".join(sorted(names)).encode()).hexdigest()
            for task, names in hashes.items()
        },
        "num_documents": {task: len(names) for task, names in hashes.items()},
    }


def _metrics(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`metric,filter` and its value; standard errors, names and counts are left out."""
    for name, value in row.items():
        metric, comma, _ = name.partition(",")
        if comma and not metric.endswith("_stderr") and _is_number(value):
            yield name, float(value)


def _scores(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    uneven = set()
    for row in sorted(rows, key=lambda row: row["doc_id"]):
        for metric in row["metrics"]:
            name = f"{metric},{row.get('filter', 'none')}"
            if _is_number(row.get(metric)):
                found.setdefault(name, []).append(float(row[metric]))
            else:
                uneven.add(name)
    return {name: values for name, values in found.items() if name not in uneven}


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, str)
