"""Parsing of overrides by Hydra's grammar, and what to type instead where it refuses. Imports no torch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from functools import lru_cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from hydra.errors import HydraException

from harness.schema.run_config import ConfigError

MAX_RUNS = 10_000
_OPEN, _CLOSE = "{[(", "}])"


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides without looking at what they name. Raises ConfigError for a malformed one."""
    parsed = []
    for place, line in enumerate(overrides):
        try:
            parsed.append(_parsed(line))
        except HydraException as error:
            hint = _quoted(overrides[place:])
            remedy = f"quote it: {hint}" if hint else "overrides look like trainer.steps=10"
            raise ConfigError(f"{line}: {_reason(error)}; {remedy}") from None
    return parsed


@lru_cache(maxsize=4096)
def _parsed(line: str) -> Override:
    """An override, which nothing changes. Raises HydraException."""
    (parsed,) = OverridesParser.create().parse_overrides([line])
    return parsed


def _reason(error: HydraException) -> str:
    first = str(error).splitlines()[0]
    return "not an override" if "LexerNoViable" in first or first.startswith("Error parsing") else first


def _quoted(rest: Sequence[str]) -> str | None:
    """The first of these words as the shell should be given it: whole, or with its value in quotes."""
    words: list[str] = []
    for word in rest:  # `trainer.lora={rank: 16}` unquoted arrives as two words
        words.append(word)
        whole = " ".join(words)
        depth = sum(map(whole.count, _OPEN)) - sum(map(whole.count, _CLOSE))
        if len(words) > 1 and depth == 0 and _parses(whole):
            return shlex.quote(whole)
        if depth <= 0:
            break
    key, equals, value = rest[0].partition("=")
    inner = f"{key}='{value}'" if '"' in value else f'{key}="{value}"'
    given = equals and value and not value.startswith(("[", "{"))  # those are no texts
    return shlex.quote(inner) if given and _parses(inner) else None


def _parses(line: str) -> bool:
    try:
        OverridesParser.create().parse_override(line)
    except HydraException:
        return False
    return True


def swept_values(override: Override, options: Sequence[str], *, max_runs: int) -> list[str]:
    """The values of a sweep override: choice, range or glob over `options`, those of its group.

    Raises ConfigError for an interval, for a glob that no option fits, and for more than `max_runs` values.
    """
    line, value = override.input_line or override.key_or_group, override.value()
    if override.is_interval_sweep():
        raise ConfigError(f"{line}: no values to run; list them, or use range(start, stop, step)")
    if isinstance(value, Glob):
        if not options:
            raise ConfigError(f"{line}: glob() lists the options of a group; list the values instead")
        if not (found := value.filter(list(options))):
            raise ConfigError(f"{line}: no option fits; there are {', '.join(options)}")
        return found
    if isinstance(value, RangeSweep):
        assert value.start is not None and value.stop is not None
        check_number(max(0, math.ceil((value.stop - value.start) / value.step)), line, max_runs=max_runs)
    return [str(v) for v in override.sweep_string_iterator()]


def check_number(number: int, what: str, *, max_runs: int) -> None:
    """Raises ConfigError for a sweep of more runs than are meant to be composed one by one."""
    if number > max_runs:
        raise ConfigError(
            f"{what}: {number:,} runs, and a sweep has at most {max_runs:,}; give fewer values, or "
            f"--max-runs {number}"
        )
