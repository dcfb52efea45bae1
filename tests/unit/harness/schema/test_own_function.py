"""Functions of the user's own: where one stands, what names it in a run, and what is refused."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from harness.schema.own_function import OwnFunction, forget, freeze, load_function, read_source

CODE = "def f(*, x, by=2):\n    return x * by\n\n\ndef g(*, x):\n    raise KeyError(x)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    package = tmp_path / "site" / "own_pkg_of_test"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("def h():\n    return 1\n")
    (package / "other.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for name in [name for name in sys.modules if name.startswith("own_pkg_of_test")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_a_file_and_a_package_are_found_and_hashed(folder: Path) -> None:
    assert load_function(OwnFunction(path="mine.py:f"))(x=3) == 6
    assert load_function(OwnFunction(path=f"{folder}/mine.py:f"))(x=3, by=5) == 15
    assert read_source("mine.py:f") == (hashlib.sha256(CODE.encode()).hexdigest(), CODE)
    for path in ("own_pkg_of_test.inner:h", "own_pkg_of_test.inner.h"):
        assert load_function(OwnFunction(path=path))() == 1
        assert "own_pkg_of_test.inner" in sys.modules


def test_the_hash_of_a_package_covers_all_of_it(folder: Path) -> None:
    before = read_source("own_pkg_of_test.inner:h")[0]
    frozen = OwnFunction(path="own_pkg_of_test.inner:h", sha256=before, source="")
    (folder / "site" / "own_pkg_of_test" / "other.py").write_text("y = 2\n")
    forget()
    assert read_source("own_pkg_of_test.inner:h")[0] != before
    with pytest.raises(ValueError, match="the package has changed since the launch"):
        load_function(frozen)


def test_what_was_read_at_the_launch_is_what_runs(folder: Path) -> None:
    data = {"objective": {"loss": {"custom": {"path": "mine.py:f", "params": {"by": 3}}}}, "data": {}}
    freeze(data)
    own = OwnFunction.model_validate(data["objective"]["loss"]["custom"])
    (folder / "mine.py").write_text("def f(*, x): return 0\n")
    assert load_function(own)(x=1, **own.params) == 3
    assert own.identity == {"name": "f", "params": {"by": 3}, "sha256": own.sha256}
    forget()
    freeze(data)
    changed = OwnFunction.model_validate(data["objective"]["loss"]["custom"])
    assert load_function(changed)(x=1) == 0 and changed.identity != own.identity
    freeze(data, {"mine.py:f": (str(own.sha256), str(own.source))})  # as a launcher tells its processes
    assert OwnFunction.model_validate(data["objective"]["loss"]["custom"]) == own


def test_one_place_or_another_is_the_same_function(folder: Path) -> None:
    (folder / "copy.py").write_text(CODE)
    assert OwnFunction(path="mine.py:f").identity == OwnFunction(path="copy.py:f").identity
    assert OwnFunction(path="mine.py:f").identity != OwnFunction(path="mine.py:g").identity
    assert OwnFunction(path="mine.py:f").identity != OwnFunction(path="mine.py:f", params={"by": 3}).identity


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("mine.py", CODE, "name a function in a file"),
        ("mine", CODE, "name a function in a file"),
        ("mine.py:f()", CODE, "name a function in a file"),
        ("gone.py:f", CODE, "gone.py: No such file"),
        ("mine.py:h", CODE, "no function h in mine.py; it has f, g"),
        ("mine.py:f", "def f(:\n", r"not Python: .*\(line 1\)"),
        ("mine.py:f", "import helper\ndef f(): pass\n", "it imports helper; a file stands alone"),
        ("mine.py:f", "from .helper import f\n", "it imports from its folder; a file stands alone"),
        ("nowhere.to:f", CODE, "no package nowhere is installed"),
        ("own_pkg_of_test.gone:f", CODE, "no module own_pkg_of_test.gone"),
    ],
)
def test_what_cannot_be_found_is_one_line(folder: Path, path: str, code: str, words: str) -> None:
    (folder / "mine.py").write_text(code)
    (folder / "helper.py").write_text("def f(): pass\n")
    with pytest.raises(
        ValueError, match=rf"objective.reward.custom.path={path.replace('()', '..')}: "
    ) as found:
        freeze({"objective": {"reward": {"custom": {"path": path}}}})
    assert "\n" not in str(found.value)
    with pytest.raises(ValueError, match=words):
        read_source(path)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "import nothing_of_this_name\ndef f(): pass\n",
            "cannot be imported: ModuleNotFoundError: No module",
        ),
        ("raise SystemExit(3)\ndef f(): pass\n", r"cannot be imported: SystemExit: 3 \(line 1\)"),
        ("x = 1\nx / 0\ndef f(): pass\n", r"ZeroDivisionError: division by zero \(line 2\)"),
        ("f = 3\n", "f in mine.py is no function"),
    ],
)
def test_what_fails_on_import_is_one_line(folder: Path, code: str, words: str) -> None:
    (folder / "mine.py").write_text(code)
    with pytest.raises(ValueError, match=words):
        load_function(OwnFunction(path="mine.py:f"))
