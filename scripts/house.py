"""The package as a reader meets it: its size, its names, its arrows, and the way of one evaluation.

    python scripts/house.py                     # this checkout
    python scripts/house.py --before ../before  # beside an earlier one
    python scripts/house.py --json

``package_lines``: lines of Python in the package. ``names_twice``: names without underscore that
two modules define. ``wrong_way``: imports of a stage that stands further right. ``equal_runs``:
runs of six equal lines in two files. ``evaluate_files``: files whose functions run when a trained
run is embedded and scored by ``crbench evaluate``, by a trace of calls, without the bodies of
modules and classes; beside the ground, ``cli``, ``scoring`` and ``models``, which
``evaluate_files_all`` counts too. ``evaluate_returns``: how often the way goes back to a stage
further left and returns from there.
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GROUND = ("errors", "seeds", "files", "machine", "progress", "words", "cards", "plugins", "records")
STAGES = (
    "scoring", "data", "models", "run", "embedding", "training", "evaluation", "archive", "board",
    "study", "draw", "site", "serve", "cli",
)  # fmt: skip
FRONT = ("__init__", "__main__")  # they stand before the house and may name any stage
BESIDE = (*GROUND, *FRONT, "provenance", "cli", "scoring", "models")  # not counted on the way
RUN = 6  # lines


def sources(package: Path) -> list[Path]:
    """Python files of the package, sorted."""
    return sorted(package.rglob("*.py"))


def stage(path: Path, package: Path) -> str:
    """The first folder of a file inside the package, or the file's own name on the ground."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def public_names(tree: ast.Module) -> Iterator[str]:
    """Functions, classes and constants that a module defines at its top, without underscore."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        yield from (name for name in names if not name.startswith("_"))


def names_twice(package: Path) -> dict[str, list[str]]:
    """Public names that stand in more than one module, with the files."""
    files = collections.defaultdict(list)
    for path in sources(package):
        for name in dict.fromkeys(public_names(ast.parse(path.read_text(encoding="utf-8")))):
            files[name].append(path.relative_to(package).as_posix())
    return {name: where for name, where in sorted(files.items()) if len(where) > 1}


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_way(package: Path) -> list[str]:
    """``file → module`` of each import from a stage further right, or from no stage at all."""
    order = dict.fromkeys(GROUND, 0) | {name: at for at, name in enumerate(STAGES, 1)}
    arrows = []
    for path in sources(package):
        own = stage(path, package)
        if own in FRONT:
            continue
        for name in sorted(imports(path)):
            parts = name.split(".")
            if parts[0] != "crbench" or len(parts) < 2 or parts[1] not in order:
                continue
            if own not in order or order[parts[1]] > order[own]:
                arrows.append(f"{path.relative_to(package).as_posix()} → {name}")
    return arrows


def equal_runs(package: Path) -> list[str]:
    """Places where six lines of one file stand in another; blank lines and imports are no lines."""
    runs: dict[tuple[str, ...], dict[str, int]] = collections.defaultdict(dict)
    for path in sources(package):
        lines = [
            (number, line.strip())
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            if line.strip() and not line.strip().startswith(("import ", "from ", "#"))
        ]
        for at in range(len(lines) - RUN + 1):
            text = tuple(line for _, line in lines[at : at + RUN])
            if sum(len(line) > 3 for line in text) >= RUN - 1:  # closing brackets are no text
                runs[text].setdefault(path.relative_to(package).as_posix(), lines[at][0])
    places = (where for where in runs.values() if len(where) > 1)
    return sorted({" ~ ".join(f"{file}:{line}" for file, line in w.items()) for w in places})


TRACED = """
import inspect, json, sys, threading
from pathlib import Path
import crbench
from crbench.cli import app
package = Path(crbench.__file__).resolve().parent
sys.argv = ["crbench", "evaluate", sys.argv[1], "--cache", sys.argv[2], "--quiet"]
way = []
known = {}
def profile(frame, event, argument):
    if event != "call" or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return
    name = frame.f_code.co_filename
    if name not in known:
        path = Path(name)
        known[name] = path.is_absolute() and path.is_relative_to(package)
    if known[name] and (not way or way[-1] != name):
        way.append(name)
threading.setprofile(profile)
sys.setprofile(profile)
try:
    app(prog_name="crbench")
except SystemExit as stop:
    code = stop.code
sys.setprofile(None)
print("WAY" + json.dumps([code, [str(Path(name).relative_to(package)) for name in way]]))
"""


def evaluation(root: Path) -> list[str]:
    """Files of the package in the order in which an evaluation of a small run enters them."""

    def python(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=root, env=_environment(root),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout

    with tempfile.TemporaryDirectory() as folder:
        cache, run = Path(folder) / "twin.h5", Path(folder) / "run"
        sizes = [w for s in ("train", "val", "test") for w in ("--set", f"source.splits.{s}=32")]
        python("-m", "crbench", "cache", "build", "ben-14k-twin", *sizes, "--out", cache, "-q")
        python("-m", "crbench", "train", "cr-jepa", "ben-14k-twin", "--scale", "tiny",
               "--epochs", 1, "--set", "train.batch_size=16", "--cache", cache, "--out", run,
               "-q")  # fmt: skip
        text = python("-c", TRACED, run, cache)
    code, way = json.loads(text[text.rindex("WAY") + 3 :])
    if code:
        raise SystemExit(f"evaluate ended with exit code {code}")
    return [str(name) for name in way]


def _environment(root: Path) -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(root)}


def climbs(way: list[str]) -> int:
    """Steps of the way that lead to a file of another stage which was left before."""
    left: set[str] = set()
    count, here = 0, ""
    for name in way:
        if name in left and name != here:
            count += 1
        left.add(here)
        here = name
    return count


def measured(root: Path, *, trace: bool = True) -> dict[str, Any]:
    """Every figure of the house at ``root``."""
    package = root / "crbench"
    folders: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for path in sources(package):
        name = stage(path, package) if path.parent != package else "(ground)"
        folders[name][0] += 1
        folders[name][1] += len(path.read_text(encoding="utf-8").splitlines())
    figures: dict[str, Any] = {
        "package_lines": sum(lines for _, lines in folders.values()),
        "package_files": sum(files for files, _ in folders.values()),
        "folders": {name: {"files": f, "lines": n} for name, (f, n) in sorted(folders.items())},
        "names_twice": len(names_twice(package)),
        "names": names_twice(package),
        "wrong_way": len(wrong_way(package)),
        "arrows": wrong_way(package),
        "equal_runs": len(equal_runs(package)),
        "equal": equal_runs(package),
    }
    if trace:
        way = evaluation(root)
        seen = list(dict.fromkeys(way))
        counted = [n for n in seen if Path(n).parts[0].removesuffix(".py") not in BESIDE]
        figures |= {
            "evaluate_files": len(counted),
            "evaluate_files_all": len(seen),
            "evaluate_returns": climbs([n for n in way if n in counted]),
            "evaluate_way": counted,
        }
    return figures


def main() -> None:
    """Print the figures, as a page or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to measure")
    parser.add_argument("--before", type=Path, help="an earlier checkout, to be set beside it")
    parser.add_argument("--no-trace", action="store_true", help="leave the evaluation out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = measured(options.root.resolve(), trace=not options.no_trace)
    if options.before is not None:
        before = measured(options.before.resolve(), trace=not options.no_trace)
        figures["before"] = {k: v for k, v in before.items() if isinstance(v, int)}
    if options.json:
        print(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    for name, size in figures["folders"].items():
        print(f"{name:<20} {size['files']:>4} files {size['lines']:>7,} lines")
    for name, value in figures.items():
        if isinstance(value, int):
            earlier = figures.get("before", {}).get(name)
            print(f"{name:<20} {value:>7,}" + ("" if earlier is None else f", before {earlier:,}"))
    for name in ("names", "arrows", "equal", "evaluate_way"):
        if lines := figures.get(name):
            print(f"\n{name}:")
            for line in lines:
                where = f"  {', '.join(lines[line])}" if isinstance(lines, dict) else ""
                print(f"  {line}{where}")


if __name__ == "__main__":
    main()
