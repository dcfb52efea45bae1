"""What a run costs: seconds and peak memory by phase, and the share of the device's peak FLOP/s (MFU).

MFU is the FLOPs of a forward and backward pass over the trained rows (`flops.trained_flops`), divided by the
seconds of the phase `train` and by the device's dense bf16 peak, whatever the dtype. The FLOPs are those of
the layers' matmul weights for each token, a prompt that rows share counted once; of the output head for
completion tokens; and of the causal half of attention. Repeated work (recomputed layers, old logprobs, a
prompt that another microbatch also has) is not counted.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import torch

# Dense bf16 tensor-core FLOP/s by words of the device's name (vendors' data sheets, without sparsity).
PEAK_FLOPS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "GH200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A10G": 70e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
_CLEAR_REFS = Path("/proc/self/clear_refs")  # 5: the peak of resident memory begins anew (proc(5))


def peak_flops(device_name: str) -> float | None:
    """Peak FLOP/s of a named device; None if it is not in the table, a part of a device (MIG) or a CPU."""
    if " MIG " in device_name or " Laptop " in device_name:
        return None
    named = f" {device_name} "
    return next((peak for name, peak in PEAK_FLOPS.items() if _names(name, named)), None)


def _names(name: str, device_name: str) -> bool:
    """True if the name occurs as whole words: `A100-SXM4` is an A100, `L40` is no L4, `3090 Ti` no 3090."""
    at = device_name.find(f" {name}")
    rest = device_name[at + len(name) + 1 :]
    return at >= 0 and rest[0] in " -" and not rest.startswith((" D ", " Ti "))


class Meter:
    """Times phases. A phase inside another is taken out of it, so that phases add up to the whole.

    `book(phase, seconds, peak memory in bytes)` is called each time one ends or is interrupted by another.
    Peak memory is what PyTorch allocated on a GPU, and resident memory on a CPU; where the system does not
    let a process reset its peak, it is what was resident at the phase's end. `outside` is the peak outside
    all phases.
    """

    def __init__(self, device: torch.device, book: Callable[[str, float, int], None]) -> None:
        self.device, self.book = device, book
        self._open: list[str] = []
        self._since = 0.0
        self.outside = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # kernels still running belong to the phase that ends
        now, peak = time.perf_counter(), peak_bytes(self.device)
        if self._open:
            self.book(self._open[-1], now - self._since, peak)
        else:
            self.outside = max(self.outside, peak)
        begin_peak(self.device)
        self._since = now


def begin_peak(device: torch.device) -> None:
    """Reset the peak that `peak_bytes` reports."""
    if device.type == "cuda":
        if torch.cuda.is_initialized():  # before that, there is no peak to reset, and the call fails
            torch.cuda.reset_peak_memory_stats(device)
    elif _can_begin_peak():
        _CLEAR_REFS.write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Peak memory since `begin_peak`: allocated on a GPU, resident on a CPU (or resident now, if unknown)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes() if _can_begin_peak() else resident_bytes()


@lru_cache(maxsize=1)
def _can_begin_peak() -> bool:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


class Clock:
    """Counts wall-clock seconds; those while it is stopped are counted in `apart` instead."""

    def __init__(self) -> None:
        self._since, self._waited = time.perf_counter(), waited_seconds()
        self.apart = 0.0

    @property
    def waited(self) -> float:
        """Seconds since the start, stopped or not, in which this thread waited for a core."""
        return waited_seconds() - self._waited

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._since - self.apart

    @contextmanager
    def stopped(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.apart += time.perf_counter() - began


def waited_seconds() -> float:
    """Seconds in which this thread could have run and other programs had the cores; 0 without Linux."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def resident_bytes() -> int:
    """Resident memory of this process; 0 without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int:
    """Peak resident memory of this process; without /proc `ru_maxrss`, which begins with the parent's."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def mfu(flops: float, seconds: float, device: torch.device, num_devices: int) -> dict[str, float]:
    """{"mfu": share of the peak}, or nothing for a device whose peak is not known."""
    peak = peak_flops(torch.cuda.get_device_name(device))
    return {} if peak is None else {"mfu": flops / seconds / (peak * num_devices)}
