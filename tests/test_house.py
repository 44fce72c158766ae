"""The house keeps its order: one name one thing, arrows to the left, tests beside the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from house import equal_runs, measured, names_twice, public_names, wrong_way

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "crbench"
TESTS = ROOT / "tests"
# what makes a function more than a straight line; each can go wrong on its own
LOGIC = (
    ast.If, ast.IfExp, ast.For, ast.While, ast.Match, ast.Try,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
ASIDE = {"cli/options.py", "__main__.py"}  # types of options; one call


def test_no_public_name_has_two_meanings() -> None:
    assert names_twice(PACKAGE) == {}


def test_a_file_imports_from_stages_to_its_left() -> None:
    assert wrong_way(PACKAGE) == []


def test_no_six_equal_lines_stand_in_two_files() -> None:
    assert equal_runs(PACKAGE) == []


@pytest.mark.soak  # trains and scores a small run, traced
def test_an_evaluation_goes_through_few_files() -> None:
    assert len(measured(ROOT)["evaluate_way"]) <= 14


def test_the_checks_of_the_house_can_fail(tmp_path: Path) -> None:
    lines = "".join(f"    x = call_number({n})\n" for n in range(6))
    for name, text in (
        ("scoring/a.py", f"import crbench.cli.app\nLIMIT = 1\n\n\ndef f():\n{lines}"),
        ("board/b.py", f"from crbench.scoring import a\nLIMIT: int = 2\n\n\ndef g():\n{lines}"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert names_twice(tmp_path) == {"LIMIT": ["board/b.py", "scoring/a.py"]}
    assert wrong_way(tmp_path) == ["scoring/a.py → crbench.cli.app"]
    assert len(equal_runs(tmp_path)) == 1
    assert list(public_names(ast.parse("_A = 1\nB, c = 1, 2\nd = 3\n"))) == ["d"]


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
