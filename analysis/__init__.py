"""`from analysis import load_study, compare, power` (analysis/api.py), imported when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.api import compare as compare
    from analysis.api import load_study as load_study
    from analysis.api import power as power


def __getattr__(name: str) -> Any:
    if name not in ("compare", "load_study", "power"):
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    from analysis import api

    return getattr(api, name)
