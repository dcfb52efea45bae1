"""Frames and lines between the processes that run programs."""

from __future__ import annotations

import os
import select
import struct
import time

from harness.grading.code.limits import MAX_LINE

PIPE_BYTES = 4096  # so many never block where a pipe can be written
READY, LOST = b"ready\n", b"gone"


class Ended(Exception):
    """The other side of a pipe is gone, or its line is too long or too late."""


def read_exactly(descriptor: int, size: int) -> bytes:
    """Read `size` bytes. Raises EOFError where the other side ends before."""
    found = bytearray()
    while len(found) < size:
        part = os.read(descriptor, size - len(found))
        if not part:
            raise EOFError
        found += part
    return bytes(found)


def read_frame(descriptor: int) -> bytes:
    """Read what `frame` made."""
    (size,) = struct.unpack("!I", read_exactly(descriptor, 4))
    return read_exactly(descriptor, size)


def frame(content: bytes) -> bytes:
    """The content after its length."""
    return struct.pack("!I", len(content)) + content


def write_all(descriptor: int, content: bytes, until: float | None = None) -> None:
    """Write all of it. Raises OSError where the other side is gone, or does not read until then."""
    view = memoryview(content)
    while view:
        if (
            until is not None
            and not select.select([], [descriptor], [], max(0.0, until - time.monotonic()))[1]
        ):
            raise TimeoutError
        view = view[os.write(descriptor, view[:PIPE_BYTES]) :]


class Lines:
    """Lines read from a pipe, with a limit of size and a time until which to wait."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.rest = descriptor, b""

    def next(self, until: float | None = None) -> bytes:
        """The next line. Raises Ended."""
        while b"\n" not in self.rest:
            if until is not None:
                ready, _, _ = select.select([self.descriptor], [], [], max(0.0, until - time.monotonic()))
                if not ready:
                    raise Ended("time")
            part = os.read(self.descriptor, 1 << 16)
            if not part or len(self.rest) > MAX_LINE:
                raise Ended("end")
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        return line
