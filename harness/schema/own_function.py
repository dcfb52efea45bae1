"""Functions of the user's own: where one stands, what its source was at the launch, and loading it. No torch.

`objective.reward.custom={path: rewards.py:brevity, weight: 0.2}` names a function in a file, and
`path: package.module:function` one of an installed package. `freeze` reads the source once a launch and puts
it into the config, which travels to every worker and into each run's record: editing the file while a sweep
runs changes nothing, and a run's name holds the source's hash.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from harness.schema.section import Check, Section


class OwnFunction(Section):
    """A function in a file of yours, or in a package that is installed."""

    path: str
    """`rewards.py:brevity`, a file and a function in it, or `package.module:function`."""
    params: dict[str, Any] = Field(default={})
    """Keyword arguments beside those that every call has."""
    sha256: str | None = None
    """SHA-256 of the file, or of all Python files of the package; the launch fills it in."""
    source: str | None = None
    """The file's text at the launch, which fills it in; for a package, to read alone."""

    @property
    def name(self) -> str:
        """The function's own name."""
        return _split(self.path)[1]

    def frozen(self) -> OwnFunction:
        """The function with its source, read now where the launch did not."""
        if self.source is not None:
            return self
        sha256, source = read_source(self.path)
        return self.model_copy(update={"sha256": sha256, "source": source})

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it what it is: name, source and parameters, whatever its place."""
        return {**self.frozen().model_dump(exclude={"path", "source"}), "name": self.name}


class OwnReward(OwnFunction):
    """A reward of whole outputs: `(rollout, grade, problem) -> float`."""

    weight: float
    """Weight in the sum of rewards; 0: it is off."""


# Of a slot with `fn` and `custom`.
OWN_GOES_WITH_CUSTOM: tuple[Check[Any], ...] = (
    Check(
        lambda c: c.fn == "custom" and c.custom is None,
        "custom=null with fn=custom; name a function, custom={{path: mine.py:function}}",
    ),
    Check(
        lambda c: c.fn != "custom" and c.custom is not None,
        "custom={c.custom.path} means nothing to fn={c.fn}; set fn=custom",
    ),
)


def own_functions(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(dotted path, settings) of each function of the user's own in the raw data of a run's config."""
    for place in ("objective.reward.custom", "objective.advantage.custom", "objective.loss.custom"):
        _, slot, key = place.split(".")
        yield from _given(place, _inside(_inside(data, "objective"), slot), key)
    problems = _inside(data, "data")
    yield from _given("data.function", problems, "function")
    for name in _inside(problems, "components"):
        yield from _given(f"data.components.{name}.function", problems["components"][name], "function")


def _inside(data: Any, key: str) -> Any:
    found = data.get(key) if isinstance(data, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _given(place: str, section: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    own = _inside(section, key)
    if isinstance(own.get("path"), str):
        yield place, own


def freeze(data: Mapping[str, Any], known: Mapping[str, tuple[str, str]] | None = None) -> None:
    """Put the source and its hash into the raw data of a run's config.

    `known` maps a path to what another process read. Raises ValueError for a function that cannot be found.
    """
    for place, own in own_functions(data):
        try:
            own["sha256"], own["source"] = (known or {}).get(own["path"]) or read_source(own["path"])
        except ValueError as error:
            raise ValueError(f"{place}.path={own['path']}: {error}") from None


def forget() -> None:
    """Read sources anew from here on: at the beginning of each command."""
    read_source.cache_clear()


@lru_cache
def read_source(path: str) -> tuple[str, str]:
    """(SHA-256, text) of what `path` names, read once a launch. Raises ValueError."""
    where, function = _split(path)
    if _is_file(where):
        text = _text(Path(where).expanduser())
        _check_defines(text, where, function)
        _check_stands_alone(text, Path(where).expanduser())
        return hashlib.sha256(text.encode()).hexdigest(), text
    root, file = _package(where)
    content = hashlib.sha256()
    for part in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        content.update(f"{part.relative_to(root.parent)}\x1f".encode() + part.read_bytes() + b"\x1e")
    return content.hexdigest(), _text(file)


def _split(path: str) -> tuple[str, str]:
    """(file or module, function). Raises ValueError."""
    where, colon, function = path.rpartition(":")
    if not colon and not _is_file(path):
        where, _, function = path.rpartition(".")
    if not where or not function.isidentifier():
        raise ValueError("name a function in a file, rewards.py:brevity, or package.module:function")
    return where, function


def _is_file(where: str) -> bool:
    return where.endswith(".py") or "/" in where


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name a Python file, from the current folder") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; convert it") from None


def _check_defines(text: str, where: str, function: str) -> None:
    """Raises ValueError for a file that is no Python, or has no such name at its top level."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise ValueError(f"not Python: {getattr(error, 'msg', error)} (line {line})") from None
    found = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
    named = {
        t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    named |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    if function not in {*found, *named}:
        raise ValueError(f"no function {function} in {where}; it has {', '.join(found) or 'none'}")


def _check_stands_alone(text: str, path: Path) -> None:
    """Raises ValueError for a file that imports another beside it, which no hash would cover."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else (node.module or "").split(".")[0])
    for name in sorted(names):
        beside = (path.parent / f"{name}.py", path.parent / name / "__init__.py")
        if name == "." or any(p.is_file() and p.resolve() != path.resolve() for p in beside):
            raise ValueError(
                f"it imports {name if name != '.' else 'from its folder'}; a file stands alone, so "
                "that a run's name covers all of it; make it one file, or install a package and "
                "give package.module:function"
            )


def _package(module: str) -> tuple[Path, Path]:
    """(folder or file of the top-level package, the module's file). Runs nothing. Raises ValueError."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ValueError(f"no package {top} is installed; a file is given as rewards.py:brevity")
    root = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
    place = root.joinpath(*rest)
    files = (place if place.suffix else place.with_suffix(".py"), place / "__init__.py")
    if (file := next((f for f in files if f.is_file()), None)) is None:
        raise ValueError(f"no module {module}: {files[0]} is not there")
    return root, file


def load_function(own: OwnFunction) -> Callable[..., Any]:
    """The function, made from the source of the launch. Raises ValueError in one line for what goes wrong.

    A package is imported as it is now, and refused where it has changed since the launch.
    """
    where, function = _split(own.path)
    own = own.frozen()
    try:
        if _is_file(where):
            found = getattr(_module(where, str(own.sha256), str(own.source)), function, None)
        elif own.sha256 != read_source(own.path)[0]:
            raise ValueError("the package has changed since the launch; launch again")
        else:
            found = getattr(importlib.import_module(where), function, None)
    except ValueError:
        raise
    except (Exception, SystemExit) as error:
        raise ValueError(f"{where} cannot be imported: {said(error)}") from None
    if not callable(found):
        raise ValueError(f"{function} in {where} is no function")
    return found


@lru_cache
def _module(where: str, sha256: str, text: str) -> ModuleType:
    """The module of a file's text, under a name that no other has."""
    name = f"own_{Path(where).stem}_{sha256[:12]}"
    module = ModuleType(name)
    module.__file__ = where
    sys.modules[name] = module
    exec(compile(text, where, "exec"), module.__dict__)  # the user's own code, never a model's
    return module


def said(error: BaseException) -> str:
    """What went wrong in the user's code, in one line, with the line where it did."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").startswith("own_"):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line})" if line else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{where}"
