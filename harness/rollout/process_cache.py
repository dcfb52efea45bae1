"""Cache engines (with their buffers and graphs), a base's weights and prompts between a process's runs.

One value a name. Another key drops the old value before the new one is built, so that two are never in
memory. A cached value is shared by its callers: whoever changes it restores it, as
`harness.rollout.engines.warm_engine` does with the weights.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_cache: dict[str, tuple[Hashable, Any]] = {}


def cached(name: str, key: Hashable, build: Callable[[], T]) -> tuple[T, bool]:
    """Return the value of `name` under `key`, built now if need be, and whether it was cached."""
    if name in _cache and _cache[name][0] == key:
        return _cache[name][1], True
    drop(name)
    value = build()
    _cache[name] = key, value
    return value, False


def drop(*names: str) -> None:
    """Drop these values, or all, and free their memory.

    A run that failed leaves nothing to the next one: its engine may have been cut off anywhere.
    """
    gone = [_cache.pop(name) for name in names or tuple(_cache) if name in _cache]
    if not gone:
        return
    del gone
    gc.collect()  # engines and policies hold each other
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
