"""Libraries that say too much."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*loggers: str, bars: bool = False) -> Iterator[None]:
    """No warnings of these loggers, and unless `bars` nothing on stderr; errors still raise."""
    named = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in named]
    for logger in named:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.nullcontext() if bars else contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(named, levels, strict=True):
            logger.setLevel(level)
