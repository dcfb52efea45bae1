"""GPU time of a piece of work by kernel: its kernels, and the gaps in which it has none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

TOP = 20
Kernel = tuple[float, float, str]  # start and end in microseconds, name


def profiled(work: Callable[[], object]) -> dict[str, Any]:
    """Run `work` once under the profiler, which slows the CPU down a little; `summary` of its kernels."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        wall = time.perf_counter() - start
    kernels = [
        (event.time_range.start, event.time_range.end, event.name)
        for event in profile.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA
    ]
    return summary(kernels, wall)


def summary(kernels: Sequence[Kernel], wall: float) -> dict[str, Any]:
    """Seconds of the wall clock and of a busy GPU, the longest kernels by their sum, and the longest gaps.

    A gap is a time without a kernel between the first and the last, named by the kernels at both sides.
    """
    totals: dict[str, list[float]] = {}
    busy, last, gaps = 0.0, "", list[dict[str, Any]]()
    reached = first = min((start for start, _, _ in kernels), default=0.0)
    for start, end, name in sorted(kernels):
        found = totals.setdefault(name[:80], [0.0, 0])
        found[0], found[1] = found[0] + (end - start) / 1e6, found[1] + 1
        if start > reached:
            gap = {"ms": (start - reached) / 1e3, "at_s": (reached - first) / 1e6}
            gaps.append({**gap, "after": last[:60], "before": name[:60]})
        busy += max(0.0, end - max(start, reached)) / 1e6
        if end >= reached:
            reached, last = end, name
    ordered = sorted(totals.items(), key=lambda item: -item[1][0])[:TOP]
    return {
        "wall_s": wall,
        "busy_s": busy,
        "num_kernels": len(kernels),
        "gaps_over_100us_s": sum(g["ms"] for g in gaps if g["ms"] > 0.1) / 1e3,
        "kernels": [{"name": name, "s": round(s, 4), "calls": int(n)} for name, (s, n) in ordered],
        "gaps": [
            {k: round(x, 3) if isinstance(x, float) else x for k, x in gap.items()}
            for gap in sorted(gaps, key=lambda gap: -gap["ms"])[:TOP]
        ],
    }


def table(found: dict[str, Any]) -> str:
    """The summary for a reader."""
    lines = [
        f"GPU busy {found['busy_s']:.3f} s of {found['wall_s']:.3f} s, {found['num_kernels']} kernels, "
        f"{found['gaps_over_100us_s']:.3f} s in gaps over 0.1 ms"
    ]
    lines += [f"{k['s'] * 1e3:10.1f} ms {k['calls']:7d} x  {k['name']}" for k in found["kernels"]]
    lines += [
        f"gap {g['ms']:8.2f} ms at {g['at_s']:.3f} s, from {g['after']} to {g['before']}"
        for g in found["gaps"]
    ]
    return "\n".join(lines)
