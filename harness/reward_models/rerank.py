"""Best-of-n: reward models of a base that score evaluation's samples, trained once for each protocol.

    <base>/verifiers/<outcome | process>-<hash>/{model.pt, made.json, cost.json}    by all that made it

They depend on the base and on `eval` alone, never on the arm whose samples they score: `eval.k` samples of
each of `num_problems` training problems at evaluation's own length and temperature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.data.load import data_fingerprint, load_split
from harness.identity import base_id, digest
from harness.records.locks import hold
from harness.records.published import VERIFIERS
from harness.reward_models.classifier import trained_once
from harness.reward_models.graded import Source, graded
from harness.reward_models.process_reward_model import ProcessRewardModel, labelled
from harness.reward_models.process_reward_model import fit as fit_process
from harness.reward_models.reward_model import RewardModel, classifier_on
from harness.reward_models.reward_model import fit as fit_outcome
from harness.rollout.engines import load_engine
from harness.schema.prompts import make_prompt
from harness.schema.run_config import RunConfig
from harness.seeds import derive, stream_seed
from harness.training.critic import ValueModel
from harness.types import Prompt, Rollout, SamplingParams

Scorer = Callable[[Sequence[Prompt], Sequence[Rollout]], list[float]]


def scorers(
    config: RunConfig, base: Path, device: str, kinds: Sequence[str] | None = None
) -> Mapping[str, Scorer]:
    """A scorer of outputs for each of `kinds` (None: `eval.rerank`), trained now where the base has none.

    outcome  P(right) at the last token; process  the least P(right) over the steps, the answer included
    """
    found: dict[str, Scorer] = {}
    for kind in config.eval.rerank if kinds is None else kinds:
        identity = verifier_identity(config, kind)
        seed = derive(stream_seed("base", seed=0, base_seed=config.base_seed, replicate=0), "verifier", kind)
        model = classifier_on(base / "model", seed=derive(seed, "head"), device=device)
        folder = base / VERIFIERS / f"{kind}-{digest(identity)}"
        with hold(base / VERIFIERS, wait=True):
            source = _source(config, base, device, seed)
            fit = partial(_train, config, kind, model, source, identity)
            made = trained_once(folder, model, fit, owner=f"{base.name} {folder.name}")
        budget, metrics = config.trainer.microbatch_tokens, made["metrics"]
        if kind == "outcome":
            found[kind] = RewardModel(model, budget, metrics).score
        else:
            found[kind] = ProcessRewardModel(model, source.decode, budget, metrics).score
    return found


def verifier_identity(config: RunConfig, kind: str) -> dict[str, Any]:
    """Everything that determines a base's reward model, for its hash."""
    settings = config.eval
    return {
        "kind": kind,
        "base": base_id(config),
        "data": data_fingerprint(config.measured_data),
        "settings": settings.model_dump()[f"{kind}_model"],
        "sampling": settings.model_dump(include={"k", "temperature", "top_p", "max_new_tokens"}),
        "dtype": config.dtype,
        "threads": config.threads,
    }


def _train(
    config: RunConfig, kind: str, model: ValueModel, source: Source, identity: dict[str, Any]
) -> dict[str, Any]:
    """Fit `model`; the metrics of held-out training problems, what made it and how long it took."""
    start, outcome, process = time.perf_counter(), config.eval.outcome_model, config.eval.process_model
    if kind == "outcome":
        assert outcome is not None
        _, prompts, rollouts, right = graded(source, num_problems=outcome.num_problems, name=kind)
        metrics = fit_outcome(source, outcome, model, prompts, rollouts, right)
    else:
        assert process is not None
        problems, prompts, rollouts, right = graded(source, num_problems=process.num_problems, name=kind)
        steps, _ = labelled(source, process, problems, prompts, rollouts, right)
        metrics = fit_process(source, process, model, prompts, rollouts, steps)
    return {"metrics": metrics, "identity": identity, "cost": {"seconds": time.perf_counter() - start}}


def _source(config: RunConfig, base: Path, device: str, seed: int) -> Source:
    _, engine, codec = load_engine(config, base / "model", device)
    problems, settings = load_split(config.measured_data, "train"), config.eval
    template = config.measured_data.template
    prompts = {p.id: make_prompt(p, template, codec.prompt_ids) for p in problems}
    return Source(
        engine=engine,
        decode=codec.decode,
        problems=problems,
        prompts=prompts,
        template=template,
        size=settings.k,
        params=SamplingParams(
            max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, top_p=settings.top_p
        ),
        rules=tuple(config.measured_data.answer_rules),
        symbolic=config.measured_data.symbolic,
        order_seed=derive(seed, "order"),
        rollout_seed=derive(seed, "rollout"),
        token_budget=config.trainer.microbatch_tokens,
    )
