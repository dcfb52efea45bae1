"""The evaluations of one checkpoint: every split and benchmark, every search, every task of lm-eval."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from harness.evaluation.base_logprobs import base_scorer
from harness.evaluation.evaluate import evaluate
from harness.evaluation.search_eval import evaluate_search
from harness.identity import base_folder, base_id, streams_of
from harness.launch.bookkeeping import resolve_device
from harness.launch.status import checkpoint_name, mark_evaluated
from harness.model.files.codec import Codec
from harness.records.progress import Reporter
from harness.reward_models.rerank import scorers
from harness.schema.run_config import RunConfig
from harness.types import RolloutEngine


def evaluate_engine(
    config: RunConfig,
    engine: RolloutEngine,
    codec: Codec,
    folder: Path,
    step: int,
    run_id: str | None,
    report: Reporter,
) -> None:
    """Sample splits and benchmarks, run searches, and write down that it was done."""
    base, device = base_folder(config), resolve_device(config)
    what = f"step {step}" if step else "the base"
    about: dict[str, Any] = {
        "config": config,
        "checkpoint": checkpoint_name(step),
        "step": step,
        "folder": folder,
        "run_id": run_id,
        "base_id": base_id(config),
        "eval_seed": streams_of(config)["eval_sampling"],
    }
    evaluate(
        engine,
        encode=codec.prompt_ids,
        progress=lambda task, done, total: report(f"evaluating {what}", done, total, task),
        scorers=partial(scorers, config, base, device),
        base_scorer=partial(base_scorer, config, base, device),
        **about,
    )
    evaluate_search(
        engine,
        codec=codec,
        progress=lambda task, done, total: report(f"searching from {what}", done, total, task),
        scorers=partial(scorers, config, base, device, config.eval.reward_models),
        **about,
    )
    mark_evaluated(config, folder, step)


def evaluate_by_lm_eval(
    config: RunConfig, weights: Path, folder: Path, step: int, run_id: str | None, report: Reporter
) -> None:
    """Run `eval.lm_eval` on saved weights, and write down that it was done."""
    if not config.eval.lm_eval:
        return
    from harness.evaluation.lm_eval_tasks import evaluate_lm_eval

    what = f"lm-eval on step {step}" if step else "lm-eval on the base"
    evaluate_lm_eval(
        config,
        weights,
        folder=folder,
        checkpoint=checkpoint_name(step),
        step=step,
        run_id=run_id,
        base_id=base_id(config),
        device=resolve_device(config),
        progress=lambda task, done, total: report(what, done, total, task),
    )
    mark_evaluated(config, folder, step)
