"""Every setting says what it means, and every message of a table names fields that exist."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from harness.launch.ablation import AblationSpec
from harness.schema.objective_config import ObjectiveConfig
from harness.schema.objective_warnings import WARNINGS
from harness.schema.run_config import RunConfig
from harness.schema.section import Check, Section

SCHEMA = Path(__file__).resolve().parents[4] / "harness" / "schema"
CHECKS = [(kind, check) for kind in Section.__subclasses__() for check in kind.checks]


def sections(tree: ast.Module) -> Iterator[ast.ClassDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id.endswith(("Section", "Config")) for base in node.bases
        ):
            yield node


def undocumented(section: ast.ClassDef) -> list[str]:
    """Fields of a class that no string literal follows; `checks` and other class variables are no fields."""
    missing = []
    for field, below in zip(section.body, [*section.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or "ClassVar" in ast.unparse(field.annotation):
            continue
        assert isinstance(field.target, ast.Name)
        value = below.value if isinstance(below, ast.Expr) else None
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.strip()):
            missing.append(f"{section.name}.{field.target.id}")
    return missing


LAUNCHED = ("ablation", "pipeline", "rates", "seed_rule")
LAUNCH = [SCHEMA.parent / "launch" / f"{name}.py" for name in LAUNCHED]
PATHS = [*sorted(SCHEMA.glob("*.py")), *LAUNCH]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_field_has_a_line_that_explains_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [name for section in sections(tree) for name in undocumented(section)] == []


def test_every_section_is_looked_at() -> None:
    seen = {section.name for path in PATHS for section in sections(ast.parse(path.read_text("utf-8")))}
    known = {kind.__name__ for kind in (RunConfig, ObjectiveConfig, AblationSpec, *Section.__subclasses__())}
    assert known <= seen


def test_a_field_without_a_line_is_found() -> None:
    (section,) = sections(
        ast.parse('class A(Section):\n    """A."""\n    x: int\n    """Doc."""\n    y: int = 0\n')
    )
    assert undocumented(section) == ["A.y"]


@pytest.mark.parametrize(
    ("kind", "check"), [*CHECKS, *((ObjectiveConfig, warning) for warning in WARNINGS)], ids=lambda x: ""
)
def test_a_message_names_fields_of_its_section(kind: type[Section], check: Check) -> None:
    for _, name, _, _ in Formatter().parse(check.message):
        if name is not None:
            root, _, field = name.partition(".")
            first = field.split(".")[0].split("[")[0]
            assert root == "c" and (first in kind.model_fields or hasattr(kind, first)), name
