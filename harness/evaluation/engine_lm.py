"""A rollout engine as a model of lm-eval: strings in, strings out; the rollouts are stored."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from harness.seeds import derive
from harness.types import Prompt, Rollout, RolloutEngine, SamplingParams

Progress = Callable[[str, int, int], None]
Loglikelihood = Callable[[str, str], tuple[float, bool]]


class EngineLM(LM):
    """Any engine under lm-eval, one rollout per request.

    The seed of sample i of a problem is derive(eval_seed, problem id, i), whatever other requests there are,
    so each arm and each checkpoint draws the same random numbers. A document without an id has the hash of
    its context. The engine gets one task per call, so batches never depend on which other tasks are left.
    `rollouts[task][document]` stores the rollouts in sample order, `seconds[task]` the time.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        *,
        encode: Callable[[str, str], list[int]],
        eval_seed: int,
        policy_step: int = 0,
        progress: Progress | None = None,
        loglikelihood: Loglikelihood | None = None,
    ) -> None:
        super().__init__()
        self.engine, self.encode, self.eval_seed = engine, encode, eval_seed
        self.policy_step = policy_step
        self.progress, self.loglikelihood_fn = progress, loglikelihood
        self.stderr = sys.stderr
        self.rollouts: dict[str, dict[int, list[Rollout]]] = defaultdict(lambda: defaultdict(list))
        self.seconds: dict[str, float] = defaultdict(float)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Raises ValueError for generation options that no engine has."""
        batches: dict[tuple[str, SamplingParams], list[int]] = defaultdict(list)
        for i, request in enumerate(requests):
            batches[request.task_name or "", sampling_params(request.args[1])].append(i)
        texts, done = [""] * len(requests), 0
        for (task, params), rows in batches.items():
            self._report(task, done, len(requests))
            for i, rollout in zip(rows, self._sample(task, params, [requests[i] for i in rows]), strict=True):
                self.rollouts[task][requests[i].doc_id or 0].append(rollout)
                texts[i] = rollout.text
            done += len(rows)
        self._report("", done, len(requests))
        return texts

    def _sample(self, task: str, params: SamplingParams, requests: Sequence[Instance]) -> list[Rollout]:
        seen: Counter[str] = Counter()
        known: dict[str, Prompt] = {}
        prompts, seeds = [], []
        for request in requests:
            prompt = self._prompt(request, known)
            prompts.append(prompt)
            seeds.append(derive(self.eval_seed, prompt.problem_id, seen[prompt.problem_id]))
            seen[prompt.problem_id] += 1
        start = time.perf_counter()
        with contextlib.redirect_stderr(self.stderr):
            rollouts = self.engine.generate(prompts, params=params, seeds=seeds, policy_step=self.policy_step)
        self.seconds[task] += time.perf_counter() - start
        return rollouts

    def _prompt(self, request: Instance, known: dict[str, Prompt]) -> Prompt:
        text, doc = request.args[0], request.doc if isinstance(request.doc, dict) else {}
        template = str(doc.get("template", "none"))
        if (key := f"{template} {text}") not in known:
            problem_id = str(doc.get("id", hashlib.sha256(text.encode()).hexdigest()))
            known[key] = Prompt(problem_id, template, text, tuple(self.encode(text, template)))
        return known[key]

    def _report(self, task: str, done: int, total: int) -> None:
        if self.progress is not None:
            with contextlib.redirect_stderr(self.stderr):
                self.progress(task, done, total)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Raises ValueError where no `loglikelihood` was given: a rollout engine samples and nothing else."""
        if self.loglikelihood_fn is None:
            raise ValueError(
                "loglikelihood tasks need EngineLM(loglikelihood=...); use a generate_until task instead"
            )
        return [self.loglikelihood_fn(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return [self.loglikelihood([_rolling(request)])[0][0] for request in requests]


def _rolling(request: Instance) -> Instance:
    return Instance("loglikelihood", request.doc, ("", request.args[0]), request.idx)


def sampling_params(options: dict[str, Any]) -> SamplingParams:
    """Convert lm-eval's generation options; `do_sample` false or temperature 0 is greedy.

    Raises ValueError for an option that no engine has.
    """
    rest = dict(options)
    until = rest.pop("until", None) or []
    do_sample = rest.pop("do_sample", None)
    temperature = float(rest.pop("temperature", 0.0))
    tokens = [rest.pop(name, None) for name in ("max_gen_toks", "max_new_tokens", "max_tokens")]
    top_p, top_k = float(rest.pop("top_p", 1.0)), int(rest.pop("top_k", 0))
    if rest:
        given = ", ".join(f"{k}={v}" for k, v in rest.items())
        raise ValueError(
            f"generation_kwargs {given}: unknown to rollout engines; "
            "use do_sample, temperature, top_p, top_k, max_gen_toks, until"
        )
    sampled = do_sample is not False and temperature > 0
    return SamplingParams(
        max_new_tokens=next((int(n) for n in tokens if n is not None), 256),
        temperature=temperature if sampled else 0.0,
        top_p=top_p if sampled else 1.0,
        top_k=top_k if sampled else 0,
        stop=(until,) if isinstance(until, str) else tuple(until),
    )
