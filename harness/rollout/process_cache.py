"""What a process keeps between runs: an engine with its buffers and graphs, a base's weights, prompts.

One value a name. Asking under another key frees the old value before the new one is built, so that two never
stand in memory together. A kept value is shared by all that ask: whoever changes it puts it back, as
`harness.rollout.engines.warm_engine` does with the weights.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_kept: dict[str, tuple[Hashable, Any]] = {}


def keep(name: str, key: Hashable, build: Callable[[], T]) -> tuple[T, bool]:
    """The value of `name` and whether it was there already, built under the same key."""
    if name in _kept and _kept[name][0] == key:
        return _kept[name][1], True
    drop(name)
    value = build()
    _kept[name] = key, value
    return value, False


def drop(*names: str) -> None:
    """Forget these values, or all, and give their memory back.

    A run that failed leaves nothing to the next one: its engine may have been cut off anywhere.
    """
    gone = [_kept.pop(name) for name in names or tuple(_kept) if name in _kept]
    if not gone:
        return
    del gone
    gc.collect()  # engines and policies hold each other
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
