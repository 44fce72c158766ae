"""The tests stand where the code stands, and the page for newcomers names every folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "crbench"
TESTS = ROOT / "tests"
# what makes a function more than a straight line; each can go wrong on its own
LOGIC = (
    ast.If, ast.IfExp, ast.For, ast.While, ast.Match, ast.Try,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
ASIDE = {"cli/options.py", "__main__.py"}  # types of options; one call


def has_logic(path: Path) -> bool:
    """Whether a function or method of the file branches or loops."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(isinstance(node, LOGIC) for function in functions for node in ast.walk(function))


def test_path(path: Path) -> Path:
    """``crbench/draw/maps.py`` → ``tests/draw/test_maps.py``; of a package its folder's name."""
    name = path.parent.name if path.stem == "__init__" else path.stem
    return TESTS / path.parent.relative_to(PACKAGE) / f"test_{name}.py"


test_path.__test__ = False  # type: ignore[attr-defined]


def test_the_check_of_logic_can_fail(tmp_path: Path) -> None:
    for text, expected in (
        ("def f(x):\n    return x + 1\n", False),
        ("X = [1 for _ in range(3)]\nclass A:\n    y: int = 1 if X else 2\n", False),
        ("class A:\n    def f(self, x):\n        return 1 if x else 2\n", True),
        ("async def f(x):\n    return {y for y in x}\n", True),
    ):
        (tmp_path / "m.py").write_text(text)
        assert has_logic(tmp_path / "m.py") == expected


@pytest.mark.xfail(strict=False, reason="tests move beside what they test")
def test_every_module_with_logic_has_a_test_file_at_the_same_place() -> None:
    missing = [
        str(test_path(path).relative_to(ROOT))
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in ASIDE
        and has_logic(path)
        and not test_path(path).is_file()
    ]
    assert not missing, "\n".join([f"{len(missing)} are missing:", *missing])


def test_a_test_file_tests_something_that_is_there() -> None:
    """A folder of tests is one of the package; ``golden`` and ``oracles`` hold what tests read."""
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert [str(f) for f in sorted(folders) if not (PACKAGE / f).is_dir()] == []


def test_the_page_for_newcomers_names_every_folder() -> None:
    page = (ROOT / "docs" / "where-is-what.md").read_text(encoding="utf-8")
    folders = [
        path.relative_to(ROOT).as_posix()
        for path in (*PACKAGE.iterdir(), *(PACKAGE / "data").iterdir())
        if path.is_dir() and path.name != "__pycache__"
    ]
    named = [f for f in {*folders, *SIDE} if page.count(f"| `{f}/` |") != 1]
    assert not named
    rows = [line.split("|")[1].strip(" `/") for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if not (ROOT / row).exists()] == [], "what is not there any more"


SIDE = ("methods", "datasets", "results", "scripts", "tests", "docs")
