"""Compile the kernels of decoding and of exact sampling for GPUs that are not here.

Run by test_kernels.py in a process of its own, so that no interpreter is in the way. Prints "compiled".
"""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from harness.model import exact, kernels, paged_attention
from harness.model.chunks import PAGE
from harness.rollout.gpu import kernels as whole_rows
from harness.rollout.gpu import rope_kernels

SHARED_MEMORY = 99 * 1024  # bytes that a program may have on the smallest of these, sm_86
DIVISIBLE = ("width", "features")  # by 16, as models' sizes are


def compiled(
    function: Any, types: dict[str, str], constants: dict[str, Any], target: int, **options: int
) -> Any:
    """Compile a kernel for a compute capability; its arguments have these types, pointers aligned."""
    names = function.arg_names
    aligned = [n for n in names if types.get(n, "").startswith("*") or n in DIVISIBLE]
    source = ASTSource(
        fn=function,
        signature={n: types.get(n, "constexpr") for n in names},
        constexprs={(names.index(n),): value for n, value in constants.items()},
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in aligned},
    )
    found = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
    assert found.metadata.shared <= SHARED_MEMORY, (function.__name__, options, found.metadata.shared)
    return found


def of(kind: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)


def attention(target: int, dtype: str, head_dim: int, direct: bool) -> None:
    wide = dtype if direct else "*fp32"
    types = of(dtype, "queries keys values out") | of("*i64", "positions row_slot") | {"table": "*i32"}
    types |= of(wide, "partial statistics") | of("i32", "table_width splits") | {"scale": "fp32"}
    shape = {"HEADS": 12, "GROUP": 6, "PADDED": 16, "HEAD_DIM": head_dim, "PAGE": PAGE, "LEAST": 256}
    stages = paged_attention._stages(PAGE * head_dim * (4 if dtype == "*fp32" else 2))
    found = compiled(
        paged_attention._attend_kernel,
        types,
        {**shape, "DIRECT": direct},
        target,
        num_warps=paged_attention.NUM_WARPS,
        num_stages=stages,
    )
    if dtype == "*bf16":  # on tensor cores, with copies that do not wait
        assert "mma.sync" in found.asm["ptx"] and "cp.async.cg" in found.asm["ptx"]


def others(target: int) -> None:
    types = of("*fp32", "partial statistics") | of("*i64", "positions row_slot")
    types |= {"out": "*bf16", "splits": "i32"}
    constants = {"HEADS": 12, "HEAD_DIM": 128, "PAGE": PAGE, "LEAST": 256, "BLOCK": 8}
    compiled(paged_attention._combine_kernel, types, constants, target)
    types = of("*bf16", "qkv head_norm queries keys values") | of("*i64", "positions row_slot")
    types |= {"rotations": "*fp32", "table": "*i32", "table_width": "i32", "eps": "fp32"}
    constants = {"HEADS": 12, "KV_HEADS": 2, "HEAD_DIM": 128, "PAGE": PAGE, "PADDED": 16, "HAS_NORM": True}
    compiled(rope_kernels._rope_pages_kernel, types, constants, target)
    del types["table"], types["table_width"], constants["PAGE"]
    strides = of("i32", "slot_stride head_stride")
    compiled(rope_kernels._rope_cache_kernel, types | strides, constants, target)
    types = of("*bf16", "queries keys values out") | of("*fp32", "partial statistics") | strides
    types |= of("*i64", "positions row_slot") | {"scale": "fp32"}
    constants = {"HEADS": 12, "GROUP": 6, "PADDED": 16, "HEAD_DIM": 128, "BLOCK": 64, "SPLITS": 4}
    compiled(whole_rows._attend_kernel, types, constants, target, num_warps=4, num_stages=2)
    types = of("*bf16", "x weight bias residual out") | of("i32", "rows width features")
    constants = {**exact._BLOCKS, "HAS_BIAS": True, "HAS_RESIDUAL": True}
    compiled(exact._linear_kernel, types, constants, target, num_warps=4, num_stages=3)
    types = of("*fp32", "logits normalisers grad") | {"out": "*bf16", "targets": "*i64", "vocab": "i32"}
    types |= {"inverse_temperature": "fp32"}
    compiled(kernels._logits_gradient_kernel, types, {"BLOCK": 4096}, target)


if __name__ == "__main__":
    for target in (80, 90):
        for dtype, head_dim in (("*bf16", 128), ("*bf16", 64), ("*fp32", 128)):
            for direct in (True, False):
                attention(target, dtype, head_dim, direct)
        others(target)
    print("compiled")
