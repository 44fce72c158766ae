"""The application over real HTTP: it answers as the search does, and says what is not there."""

from __future__ import annotations

import io
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask, bombs, hits, npy, resident, send, sentence
from PIL import Image
from typer.testing import CliRunner

from crbench.archive.search import Search
from crbench.cli import app


@pytest.mark.parametrize("direction", ["aa", "bb", "ab", "ba"])
def test_a_pair_finds_what_the_search_finds(served: Any, search: Search, direction: str) -> None:
    name = str(search.cache.ids[search.rows[3]])
    answer, page = ask(served, f"/?direction={direction}&query={name}&top=15")
    assert answer.status == 200 and answer.headers["cache-control"] == "no-store"
    wanted = search.by_id(name, direction, 15)
    words = {True: "right", False: "wrong", None: ""}
    assert hits(page.decode()) == [(h.id, f"{h.score:.3f}", words[h.right]) for h in wanted.items]
    assert ("own pair" in page.decode()) == any(h.id == name for h in wanted.items)
    for piece in ("CR-JEPA on BEN-14K twin", "seed 0", "leave-one-out", "40 pairs", "synthetic"):
        assert piece in page.decode()


def test_an_image_finds_what_the_search_finds(served: Any, search: Search) -> None:
    image = np.asarray(search.cache.images("a")[int(search.rows[5])])
    answer, page = send(served, "my <b>field.npy", npy(image))
    assert answer.status == 200, sentence(page)
    wanted = search.by_image(image, "ab", 20)
    assert hits(page) == [(h.id, f"{h.score:.3f}", "") for h in wanted.items]
    assert "my &lt;b&gt;field.npy" in page and "<b>field" not in page
    assert 'src="data:image/png;base64,' in page


def test_pictures_are_drawn_once(served: Any, search: Search) -> None:
    answer, data = ask(served, "/image/b/7.png")
    assert answer.status == 200 and answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(data)).size == search.cache.card.b.size
    tag = answer.headers["etag"]
    again, nothing = ask(served, "/image/b/7.png", If_None_Match=tag)
    assert (again.status, nothing) == (304, b"")
    assert ask(served, "/image/b/8.png")[0].headers["etag"] != tag
    head, nothing = ask(served, "/image/b/7.png", "HEAD")
    assert (head.status, nothing) == (200, b"")


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/?query=nobody", 404, "No pair named 'nobody'"),
        ("/?query=%3Cscript%3E", 404, "No pair named '<script>'"),
        ("/?direction=xy", 404, "does not serve the direction 'xy'"),
        ("/?top=0&query=a", 400, "top is '0'"),
        ("/?top=9999", 400, "a number from 1 to 100"),
        ("/?top=-1", 400, "top is '-1'"),
        ("/?examples=%C2%B2", 400, "examples is"),
        ("/nowhere", 404, "There is no such page"),
        ("/image/c/0.png", 404, "There is no such page"),
        ("/image/a/160.png", 404, "There is no such page"),
        ("/image/a/-1.png", 404, "There is no such page"),
        ("/image/a/../../run.json", 404, "There is no such page"),
        ("/../../../etc/passwd", 404, "There is no such page"),
        ("/assets/..%2Fbase.html", 404, "There is no such page"),
        ("/assets/base.html", 404, "There is no such page"),
        ("/assets/%2e%2e/%2e%2e/run.json", 404, "There is no such page"),
        ("/upload", 405, "takes no such request"),
    ],
)
def test_strange_addresses(served: Any, path: str, status: int, words: str) -> None:
    answer, page = ask(served, path)
    assert answer.status == status
    assert words.lower() in sentence(page.decode()).lower()
    assert "<script>" not in page.decode() and "Traceback" not in page.decode()


@pytest.mark.soak
def test_bombs_are_refused_with_a_sentence(served: Any, search: Search) -> None:
    card = search.cache.card.a
    made = bombs.bombs((len(card.bands), *card.size), card.dtype, served.run / "record.json")
    before = resident(served.process.pid)
    for name, (data, words) in made.items():
        answer, page = send(served, name, data)
        assert answer.status == 400, name
        assert words in sentence(page) or words.capitalize()[:9] in sentence(page), name
    assert resident(served.process.pid) - before < 256 * 2**20


def test_this_machine_alone_is_listened_to(served: Any) -> None:
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            where, state = line.split()[1], line.split()[3]
            if state == "0A" and int(where.rpartition(":")[2], 16) == served.port:
                listening.append(where.rpartition(":")[0])
    assert listening == ["0100007F"]
    for address in ("127.0.0.2", *{i[4][0] for i in socket.getaddrinfo(socket.gethostname(), 0)}):
        if address != "127.0.0.1" and ":" not in address:
            with pytest.raises(OSError):
                socket.create_connection((address, served.port), timeout=2)


def crbench(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_port_that_is_taken_is_said(served: Any, evaluated: Path) -> None:
    result = crbench("serve", evaluated, "--port", served.port)
    assert result.exit_code == 2
    assert f"port {served.port} is not to be had: another program listens there" in result.output
    assert "--port 0" in result.output


def test_without_the_extra_it_is_named(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = crbench("serve", evaluated)
    assert result.exit_code == 2
    assert "needs uvicorn" in result.output and 'pip install "crbench[serve]"' in result.output


def test_what_is_no_run_is_not_served(tmp_path: Path) -> None:
    result = crbench("serve", tmp_path / "nowhere", "--port", 0)
    assert result.exit_code == 2 and "no such run folder" in result.output
