"""How much a program may use, and how long all may take."""

from __future__ import annotations

MEMORY = 512 << 20  # bytes of address space
CPU_SECONDS = 2  # of a program from its start to its end
WALL_SECONDS = 5.0  # for one answer
ALL_SECONDS = 15.0  # for all tests of a program
MAX_LINE = 1 << 20  # bytes of one answer
MAX_STARTS = 2  # a program that has died so often is not started again
