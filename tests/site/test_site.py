"""The site's files: the same records give the same bytes, every link leads somewhere, nothing else
in the folder is touched, and the commands it shows lead to the cards of the records."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crbench.board.rows import read_records
from crbench.cards import MethodCard, load_method, parse
from crbench.cli import app
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.records import Record
from crbench.site.site import MARKER, write_site
from crbench.study.commands import command_lines
from crbench.study.written import written_studies

RESULTS = Path(__file__).resolve().parents[2] / "results"
Make = Callable[..., Record]
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """Links, ids, scripts and handlers of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0
        self.handlers: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.links.append(str(value))
            if name == "id":
                self.ids.append(str(value))
            if name.startswith("on"):
                self.handlers.append(name)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_bytes_do_not_move_and_links_lead_somewhere(make_record: Make, tmp_path: Path) -> None:
    runs = [make_record(m, 0.3 + s / 50, seed=s) for m in ("cr-jepa", "random") for s in (0, 1)]
    studies = written_studies(RESULTS / "ablations", RESULTS / "records")[:1]
    one, two = tmp_path / "one", tmp_path / "two"
    site = write_site(runs, one, studies=studies)
    write_site(list(reversed(runs)), two, studies=studies)
    assert files(one) == files(two)
    assert site.pages == len(list(one.rglob("*.html"))) == 4
    for path in one.rglob("*.html"):
        page = Page(path)
        assert page.scripts == 1 and not page.handlers
        assert len(page.ids) == len(set(page.ids)), path.name
        for link in page.links:
            if link.startswith("#"):
                assert link[1:] in page.ids
            elif not link.startswith("data:"):
                assert "://" not in link
                assert (path.parent / link.partition("#")[0]).is_file(), link
    for path in (one / "records").iterdir():
        Record.model_validate(json.loads(path.read_text(encoding="utf-8")))


def test_a_study_without_records_has_its_tables_and_no_picture(
    make_record: Make, tmp_path: Path
) -> None:
    table = Path("ben-14k-twin") / "table-s2a.csv"
    copy = tmp_path / "ablations" / table
    copy.parent.mkdir(parents=True)
    copy.write_bytes((RESULTS / "ablations" / table).read_bytes())
    studies = written_studies(tmp_path / "ablations", tmp_path / "nowhere")
    write_site([make_record()], tmp_path / "s", studies=studies)
    text = (tmp_path / "s" / "studies.html").read_text(encoding="utf-8")
    assert "pred + cross" in text and "seed 0, 1, 2 not run" in text and "<svg" not in text


def test_charts_take_their_colours_from_the_page(make_record: Make, tmp_path: Path) -> None:
    write_site([make_record(), make_record("random", 0.2)], tmp_path / "s")
    text = (tmp_path / "s" / "index.html").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert text.count("<svg") == 4 and "var(--s1)" in drawn and "S1→S2" in drawn
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn)
    style = (tmp_path / "s" / "assets" / "site.css").read_text(encoding="utf-8")
    light, dark = (set(re.findall(r"(--\w+):", part)) for part in style.split("@media", 1))
    used = set(re.findall(r"var\((--\w+)\)", text + style)) - {"--width"}  # stands at each chart
    assert used and used <= light and used <= dark


def test_names_in_records_are_text(make_record: Make, tmp_path: Path) -> None:
    run = make_record().model_dump()
    for key in ("title", "name", "paper"):
        run["method"][key] = EVIL
    run["method"]["card"]["summary"] = EVIL
    run["dataset"]["title"] = run["dataset"]["name"] = EVIL
    run["command"] = run["run"] = EVIL
    run["per_class"]["ab"] = {"f1_item@5": {EVIL: 0.5}}
    run["versions"] = {EVIL: EVIL}
    out = tmp_path / "s"
    write_site([Record.model_validate(run)], out)
    for path in out.rglob("*.html"):
        page = Page(path)
        assert page.scripts == 1 and not page.handlers, path.name
        assert "<img src=x" not in path.read_text(encoding="utf-8")
    assert all(re.fullmatch(r"[a-z0-9.-]+", p.name) for p in (out / "rows").iterdir())
    assert {p.name for p in out.iterdir()} == {
        "assets", "index.html", "records", "rows", "studies.html", MARKER,
    }  # fmt: skip


def test_only_an_earlier_report_is_replaced(make_record: Make, tmp_path: Path) -> None:
    out = tmp_path / "site"
    write_site([make_record(), make_record("x-jepa")], out)
    write_site([make_record()], out)
    assert len(list((out / "rows").iterdir())) == 1  # no page of an earlier report stays
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="other files than a report"):
        write_site([make_record()], mine)
    assert files(mine) == {"thesis.tex": b"years of work"}
    with pytest.raises(UserError, match="a file, not a folder"):
        write_site([make_record()], mine / "thesis.tex")
    before = files(out)
    with pytest.raises(UserError, match="no such run folder"):
        write_site([make_record()], out, runs=[tmp_path / "nothing"])
    assert files(out) == before
    assert {p.name for p in tmp_path.iterdir()} == {"site", "mine"}  # nothing half written stays


def test_a_failure_on_the_way_leaves_the_old_site(
    make_record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "site"
    write_site([make_record()], out)
    before = files(out)

    def broken(*given: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crbench.site.site._studies", broken)
    with pytest.raises(OSError, match="No space"):
        write_site([make_record("x-jepa")], out)
    assert files(out) == before and [p.name for p in tmp_path.iterdir()] == ["site"]


def test_runs_add_curves_grids_and_a_map(trained_run: Path, tmp_path: Path) -> None:
    evaluate(trained_run, quiet=True)
    words = ["report", "--runs", str(trained_run), "--records", str(trained_run), "--quiet"]
    words += ["--ablations", str(tmp_path), "--out", str(tmp_path / "site")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    (row,) = (tmp_path / "site" / "rows").iterdir()
    text = row.read_text(encoding="utf-8")
    kinds = {p.name.rpartition("-")[2] for p in (tmp_path / "site" / "pictures").iterdir()}
    assert kinds == {"grid.png", "wrong.png", "map.png"}
    assert text.count("<img") == 3 and "Training curves" in text and "modality gap" in text


COMMITTED = sorted((RESULTS / "records").rglob("*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_the_commands_lead_to_the_card_of_the_record(path: Path) -> None:
    (record,) = read_records([path])
    lines = command_lines(record)
    assert lines is not None
    words = shlex.split(lines[1])
    assert words[:4] == ["crbench", "train", record.method.name, record.dataset.name]
    given = dict(zip(words[4::2], words[5::2], strict=True))
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    card = load_method(words[2], scale=given["--scale"], overrides=sets)
    assert card.digest == parse(MethodCard, record.method.card, where="").digest
    assert card.train.epochs == record.training.epochs_planned  # type: ignore[union-attr]
    assert int(given["--seed"]) == record.training.seed  # type: ignore[union-attr]


def test_a_changed_key_is_set_and_a_foreign_card_has_no_command(make_record: Make) -> None:
    run = make_record(overrides=("model.mask_ratio=0.25", 'model.retrieval_heads=["uni"]'))
    lines = command_lines(run)
    assert lines is not None
    assert "--set model.mask_ratio=0.25" in lines[1]
    assert """--set 'model.retrieval_heads=["uni"]'""" in lines[1]
    entry = run.method.model_copy(update={"card": run.method.card | {"name": "elsewhere"}})
    assert command_lines(run.model_copy(update={"method": entry})) is None
    assert command_lines(run.model_copy(update={"training": None})) is None
