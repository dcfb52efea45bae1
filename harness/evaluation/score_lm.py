"""Score any model of lm-eval as a run's checkpoints are scored: an EvalRecord and every completion.

    python -m harness.evaluation.score_lm --model hf --model_args pretrained=<folder> \\
        --benchmarks '[{task: gsm8k, limit: 50}]'
    python -m harness.evaluation.score_lm --model local-chat-completions --apply_chat_template \\
        --model_args model=<name>,base_url=http://localhost:8000/v1/chat/completions,num_concurrent=16 \\
        --benchmarks '[aime24, aime25]' --out outputs/scored/<name>
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from analysis.stats.intervals import wilson
from harness.data.load import data_fingerprint
from harness.evaluation.eval_metrics import Scored
from harness.evaluation.eval_tasks import EvalTask, benchmark_task
from harness.evaluation.evaluate import eval_record, sample_rows, scored
from harness.identity import digest
from harness.records.lines import write_samples
from harness.records.progress import quiet
from harness.records.records import EvalRecord, samples_of, write_record
from harness.schema.eval_config import BenchmarkConfig
from harness.schema.explain import explain
from harness.schema.run_config import ConfigError, RunConfig
from harness.types import Problem, Rollout

if TYPE_CHECKING:
    from lm_eval.api.model import LM

BARE = ("avg_at_k", "pass_at_k", "maj_at_k", "greedy")  # standard errors apart
SHOWN = ("avg_at_k", "avg_at_k_se_sampling", "avg_at_k_se_problems", "pass_at_k", "maj_at_k", "greedy")


def score_lm(
    lm: LM,
    benchmarks: Sequence[BenchmarkConfig],
    *,
    model: str,
    out: Path,
    apply_chat_template: bool = False,
    seed: int = 0,
    model_args: Mapping[str, str] | None = None,
) -> list[EvalRecord]:
    """Write one record per benchmark, out/eval/<model>-<key>/<task>.json, with completions and grades.

    `model_args` (endpoint, revision, precision ...) are part of the key: two endpoints have two records.

    With `apply_chat_template` the problem is a user's message (template `chat`), else `boxed_answer`, unless
    the benchmark names a template. The model samples in its own way: `seed` sets PyTorch's generator, an
    endpoint gets none. Lengths are in tokens (of the text, encoded again) if lm-eval has the tokenizer, else
    in words, and then no completion counts as truncated. Raises ValueError for a benchmark without problems.
    """
    default = "chat" if apply_chat_template else "boxed_answer"
    args = dict(model_args or {})
    tasks = []
    for benchmark in benchmarks:
        task = benchmark_task(benchmark, template=default, key="")
        identity = {**benchmark.model_dump(exclude={"name", "path"}), "data": data_fingerprint(task.data)}
        key = digest({**identity, "model": model, "chat": apply_chat_template, "seed": seed, "args": args})
        tasks.append(benchmark_task(benchmark, template=default, key=key))
    start = time.perf_counter()
    samples = _completions(lm, tasks, apply_chat_template, seed)
    seconds = (time.perf_counter() - start) / len(tasks)
    return [_record(lm, task, samples, model, out, seed, seconds) for task in tasks]


def _completions(
    lm: LM, tasks: Sequence[EvalTask], apply_chat_template: bool, seed: int
) -> dict[str, dict[int, list[str]]]:
    """Completions by task and document, in the order of sampling."""
    from lm_eval.evaluator import evaluate as lm_evaluate
    from lm_eval.tasks import TaskManager

    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
    if hasattr(lm, "_seed"):
        # lm-eval sends one seed with every request, and a server that obeys it gives k equal answers.
        lm._seed = None
    with quiet("lm_eval"):
        loaded = TaskManager(include_defaults=False).load(
            [task.task_config(variant) for task in tasks for variant in task.variants]
        )
    found = lm_evaluate(lm, loaded, bootstrap_iters=0, apply_chat_template=apply_chat_template)
    assert found is not None
    return {
        name: {row["doc_id"]: [text or "" for text in row["filtered_resps"][0]] for row in rows}
        for name, rows in found["samples"].items()
    }


def _record(
    lm: LM,
    task: EvalTask,
    samples: dict[str, dict[int, list[str]]],
    model: str,
    out: Path,
    seed: int,
    seconds: float,
) -> EvalRecord:
    problems = task.problems()
    encode = getattr(lm, "tok_encode", None) if getattr(lm, "tokenizer", None) is not None else None

    def rows(variant: str) -> list[Scored]:
        texts = samples[task.task_name(variant)]
        return [
            scored(
                task,
                p,
                [_rollout(p, j, text, encode, task.max_new_tokens) for j, text in enumerate(texts[i])],
            )
            for i, p in enumerate(problems)
        ]

    sampled, greedy = rows("k"), rows("greedy") if task.greedy else None
    name = model.strip("/").replace("/", "_")
    path = out / "eval" / f"{name}-{task.key}" / f"{task.task_name()}.json"
    record = eval_record(
        task,
        sampled,
        greedy,
        checkpoint=path.parent.name,
        step=0,
        run_id=None,
        base_id=None,
        eval_sampling_seed=seed,
        seconds=seconds,
        length_unit="words" if encode is None else "tokens",
    )
    record.samples_sha256 = write_samples(samples_of(path), sample_rows(sampled, greedy))
    write_record(path, record)
    return record


def _rollout(problem: Problem, place: int, text: str, encode: Any, limit: int) -> Rollout:
    ids = tuple(encode(text)) if encode is not None else tuple(range(len(text.split())))
    cut = encode is not None and len(ids) >= limit
    return Rollout(problem.id, place, ids, text, None, "length" if cut else "stop")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for bad input."""
    options = _parser().parse_args(argv)
    try:
        benchmarks = _benchmarks(options.benchmarks)
        given = dict(pair.split("=", 1) for pair in options.model_args.split(",") if "=" in pair)
        name = options.name or given.get("pretrained") or given.get("model") or options.model
        settings = {"batch_size": options.batch_size, "device": options.device}
        records = score_lm(
            load_lm(options.model, options.model_args, settings),
            benchmarks,
            model=Path(name).name,
            out=options.out,
            apply_chat_template=options.apply_chat_template,
            seed=options.seed,
            model_args={**given, "model_type": options.model},
        )
    except (ValueError, yaml.YAMLError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for record in records:
        print(_line(record))
    return 0


def _benchmarks(text: str) -> list[BenchmarkConfig]:
    """Raises ConfigError with one line: field, value, remedy."""
    try:
        return TypeAdapter(list[BenchmarkConfig]).validate_python(yaml.safe_load(text))
    except ValidationError as error:
        raise ConfigError(f"--benchmarks: {explain(error, RunConfig, at=('eval', 'benchmarks'))}") from None


def load_lm(model: str, arguments: str, settings: dict[str, Any]) -> LM:
    """The model by lm-eval. Raises ValueError if its files or settings are bad."""
    from lm_eval.api.registry import get_model

    try:
        return get_model(model).create_from_arg_string(arguments, settings)
    except OSError as error:  # transformers says so of a folder or name that holds no model
        raise ValueError(f"--model_args: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.evaluation.score_lm", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--model", required=True, help="lm-eval's name: hf, vllm, local-chat-completions, ..."
    )
    parser.add_argument("--model_args", default="", help="as for lm_eval: a=1,b=2")
    parser.add_argument("--benchmarks", required=True, help="as eval.benchmarks: '[aime24, {task: gsm8k}]'")
    parser.add_argument("--out", type=Path, default=Path("outputs/scored"))
    parser.add_argument("--name", help="what records call the model; default: its pretrained= or model=")
    parser.add_argument("--batch_size", default="1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apply_chat_template", action="store_true")
    return parser


def _line(record: EvalRecord) -> str:
    names = {name: name for name in SHOWN} | {"pass_at_k": f"pass_at_{record.k}"}
    values = {name: record.metrics.get(key) for name, key in names.items()}
    shown = "  ".join(
        f"{name} {100 * value:.1f}{_bounds(value, record.n_problems) if name in BARE else ''}"
        for name, value in values.items()
        if value is not None
    )
    of = "" if record.sampled_from is None else f", a sample of {record.sampled_from}"
    return f"{record.task} (k={record.k}, {record.n_problems} problems{of})  {shown}"


def _bounds(value: float, num_problems: int) -> str:
    """Wilson's interval where all problems are wrong or all right, and a standard error would be 0."""
    if value not in (0, 1):
        return ""
    low, high = wilson(value, num_problems)
    return f" [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    sys.exit(main())
