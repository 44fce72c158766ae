"""The documentation names what there is, and what it shows works.

Commands and options on its pages exist, Python examples give what they print, card keys and values
are those of the cards, every card has a page. The site built from it: test_docs_site.py.
"""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from crbench import cards
from crbench.board.rows import flatten
from crbench.cli import app
from crbench.records import read_record

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "results").rglob("*.md")]
TREE = typer.main.get_command(app)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(text: str, kind: str) -> list[str]:
    """The fenced blocks of a kind, also indented ones, without what indents them."""
    found = re.finditer(rf"^( *)```{kind}\n(.*?)^\1```", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE) for match in found]


def spans(text: str) -> list[str]:
    """Inline code, of text without its fenced blocks."""
    prose = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]


# ---------------------------------------------------------------------- what pages say


def test_the_navigation_lists_every_page() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r"[\w/.-]+\.md", nav.partition("\nnot_in_nav")[0])
    outside = [page for page in listed if page.startswith("repository/")]
    assert sorted(set(listed) - set(outside)) == [p.relative_to(DOCS).as_posix() for p in PAGES]
    assert all((ROOT / page.removeprefix("repository/")).is_file() for page in outside)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("kind", ["methods", "datasets"])
def test_every_card_has_a_page_that_names_it(kind: str) -> None:
    pages = [path for path in PAGES if path.parent.name == kind and path.stem != "index"]
    assert len(pages) >= 5
    for card in cards.names(kind):
        assert any(f"`{card}`" in p.read_text() or p.stem == card for p in pages), card
        assert f"`{card}`" in (DOCS / kind / "index.md").read_text(), card


def problem(words: list[str], *, whole: bool) -> str | None:
    """What the command line would refuse in ``crbench`` WORDS, by its commands and parameters;
    ``whole``: a command to be run, not only spoken of."""
    command: Any = TREE
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        rest = [word for word in words if word not in ("--help", "--version")]
        return f"no command {words[0]}" if rest else None
    options = {o: p for p in command.params for o in (*p.opts, *p.secondary_opts) if o[0] == "-"}
    places = [p for p in command.params if not any(o[0] == "-" for o in p.opts)]
    whole = whole and "--help" not in words
    given = 0
    while words:
        word, words = words[0], words[1:]
        option, equals, _ = word.partition("=")
        if not word.startswith("-"):
            given += 1
        elif option not in options and option != "--help":
            return f"{command.name} has no option {option}"
        elif option != "--help" and not options[option].is_flag and not equals:
            if whole and (not words or words[0].startswith("--")):
                return f"{option} needs a value"
            words = words[1:]
    least = sum(1 for p in places if p.required) if whole else 0
    most = 99 if any(p.nargs == -1 for p in places) else len(places)
    return None if least <= given <= most else f"{command.name} takes {least} to {most} arguments"


def words_of(line: str) -> list[str]:
    """The words of a shell line without comment and assignments in front."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    return words


def test_the_check_of_commands_can_fail() -> None:
    good = "cache build X", "train cr-jepa X --seed 0 -q", "train --help", "cache info X"
    bad = "cache bild X", "train cr-jepa", "train a b c", "train a b --sed 0", "train a b --seed"
    assert [problem(line.split(), whole=True) for line in good] == [None] * 4
    assert all(problem(line.split(), whole=True) for line in bad)


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_commands_on_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    rules = re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    lines = [line.strip() for block in blocks(text, "sh") for line in block.splitlines()]
    for line in filter(None, lines):
        words = words_of(line)
        if "crbench" in words and words[0] in ("crbench", "torchrun", "python"):
            assert (found := problem(words[words.index("crbench") + 1 :], whole=True)) is None, (
                f"{line}: {found}"
            )
        elif words[0] == "make":
            assert words[1] in targets, line
        else:
            scripts = [word for word in words if word.startswith("scripts/")]
            assert all((ROOT / script).is_file() for script in scripts), line
            assert scripts or words[0] == "pip", line
    for code in spans(text):
        words = words_of(code) if re.match(r"(crbench|make|python) ", code) else []
        if words[:1] == ["crbench"]:
            assert (found := problem(words[1:], whole=False)) is None, f"{code}: {found}"
        elif words[:1] == ["make"]:
            assert words[1] in targets, code
        elif words:
            assert (ROOT / words[1]).is_file(), code


def leaves(command: Any) -> list[Any]:
    inner = getattr(command, "commands", {}).values()
    return [leaf for part in inner for leaf in leaves(part)] or [command]


def test_options_in_the_text_exist() -> None:
    known = {o for leaf in leaves(TREE) for p in leaf.params for o in (*p.opts, *p.secondary_opts)}
    for page in PAGES:
        for code in spans(page.read_text(encoding="utf-8")):
            if match := re.match(r"--[\w-]+", code):
                assert match[0] in known | {"--help"}, f"{name(page)}: {code}"


def keys_of(tables: list[dict[str, Any]]) -> set[str]:
    """Every key of some cards, with the tables it stands in."""
    flat = {key for table in tables for key in flatten(table)}
    return flat | {key.rsplit(".", n)[0] for key in flat for n in (1, 2) if key.count(".") > n}


def test_card_keys_on_pages_exist() -> None:
    methods = [cards.load_method(card) for card in cards.names("methods")]
    known = keys_of([card.model_dump() for card in methods])
    known |= keys_of([cards.load_dataset(card).model_dump() for card in cards.names("datasets")])
    known |= {f"train.{key}" for key in cards.TrainTable.model_fields}  # at their defaults too
    for card in cards.names("methods"):
        known |= cards.read_table("methods", card).get("later", {}).keys()
    seen = 0
    for page in PAGES:
        for code in spans(page.read_text(encoding="utf-8")):
            if match := re.fullmatch(r"((?:model|loss|train|labels|source)\.[\w.]+)( ?=.*)?", code):
                if match[1].endswith((".csv", ".txt")):
                    continue  # a file
                assert match[1] in known, f"{name(page)}: {code}"
                seen += 1
    assert seen > 50


@pytest.mark.parametrize("method", ["cr-jepa", "x-jepa", "rejepa"])
def test_values_on_the_page_of_a_method_are_those_of_its_card(method: str) -> None:
    card = flatten(cards.load_method(method).model_dump())
    page = (DOCS / "methods" / f"{method}.md").read_text(encoding="utf-8")
    table = page.partition(f"| symbol | card key | `{method}` | code |\n")[2].partition("\n\n")[0]
    compared = 0
    for line in table.splitlines()[1:]:
        _, keys, values, _ = (cell.strip() for cell in line.strip("|").split(" | "))
        names, shown = re.findall(r"`([^`]+)`", keys), values.split(", ")
        for key, value in zip(names, shown, strict=False):
            if len(names) == len(shown) and not isinstance(card.get(key, []), list | tuple):
                assert str(card[key]) in (value, f"{value}.0"), f"{key} = {card[key]}, not {value}"
                compared += 1
    assert compared >= 10


@pytest.mark.parametrize("page", [p for p in PAGES if "```pycon" in p.read_text()], ids=name)
def test_examples_give_what_they_print(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    source = "\n".join(blocks(page.read_text(encoding="utf-8"), "pycon"))
    example = doctest.DocTestParser().get_doctest(source, {}, page.stem, name(page), 0)
    assert len(example.examples) >= 4
    said: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


def test_the_method_of_the_tutorial_trains_and_is_scored(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = DOCS / "examples"
    monkeypatch.syspath_prepend(str(example))
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"

    def crbench(*words: object) -> None:
        result = CliRunner().invoke(app, [*map(str, words), "--quiet"])
        assert result.exit_code == 0, result.output

    card = example / "two-towers.toml"
    crbench("train", card, "ben-14k-twin", "--epochs", 1, "--cache", twin_cache, "--out", run)
    crbench("evaluate", run, "--cache", twin_cache)
    record = read_record(run / "record.json")
    assert record.method.card["class"] == "two_towers:TwoTowers"
    assert record.serves["ab"].query == "pooled" and not record.collapsed
    assert set(record.scores) == {"aa", "bb", "ab", "ba"}
    tutorial = (DOCS / "adding-a-method.md").read_text(encoding="utf-8")
    for file in ("two_towers.py", "two-towers.toml"):  # shown as it was run, not copied
        assert f'--8<-- "docs/examples/{file}"' in tutorial
