"""The page over real HTTP: it answers as the search does, and refuses what could do harm."""

from __future__ import annotations

import html
import http.client
import importlib.util
import io
import re
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crbench.archive.search import Search
from crbench.cli import app

SPEC = importlib.util.spec_from_file_location(
    "bombs", Path(__file__).parents[1] / "data" / "bombs.py"
)
assert SPEC is not None and SPEC.loader is not None
bombs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bombs)
GIB = 2**30


def ask(served: Any, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def form(name: str, data: bytes, **fields: str) -> tuple[bytes, str]:
    """The body of a form with a file, and its content type."""
    parts = [
        f'--xyz\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--xyz\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    body = b"".join(parts) + head.encode() + data + b"\r\n--xyz--\r\n"
    return body, "multipart/form-data; boundary=xyz"


def send(served: Any, name: str, data: bytes, direction: str = "ab", **headers: str):
    body, kind = form(name, data, direction=direction)
    answer, page = ask(served, "/upload", "POST", body, Content_Type=kind, **headers)
    return answer, page.decode()


def npy(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, image)
    return file.getvalue()


def hits(page: str) -> list[tuple[str, str, str]]:
    """(id, cosine, right or wrong or nothing) down the page."""
    pattern = r'<li class="hit (\w*)">.*?class="id">(.*?)</span>.*?class="cosine">(.*?)</span>'
    return [(i, score, word) for word, i, score in re.findall(pattern, page, flags=re.DOTALL)]


def sentence(page: str) -> str:
    found = re.search(r'role="alert">(.*?)</div>', page, flags=re.DOTALL)
    assert found is not None, page[:2000]
    return html.unescape(re.sub(r"<.*?>", "", found[1]))


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


def test_every_answer_forbids_what_the_page_does_not_need(served: Any) -> None:
    for path in ("/", "/image/a/0.png", "/assets/site.css", "/nowhere"):
        headers = ask(served, path)[0].headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
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
def test_strange_addresses(served: Any, path: str, status: int, said: str) -> None:
    answer, page = ask(served, path)
    assert answer.status == status
    assert said.lower() in sentence(page.decode()).lower()
    assert "<script>" not in page.decode() and "Traceback" not in page.decode()


@pytest.mark.parametrize(
    ("name", "data", "status", "said"),
    [
        ("query.txt", b"text", 400, "'.txt' is no ending of an image"),
        ("query", b"text", 400, "is no ending of an image"),
        ("query.tif", b"These are words.", 400, "its content is no TIFF"),
        ("small.npy", npy(np.ones((2, 8, 8), np.float32)), 400, "the image is 2×8×8 float32"),
        ("nan.npy", npy(np.full((2, 32, 32), np.nan, np.float32)), 400, "NaN"),
        ("", b"", 400, "No file was chosen"),
        ("../../../evil.npy", b"x", 400, "In evil.npy."),
        ("..\\evil.npy", b"x", 400, "In evil.npy."),
        ("..", b"x", 400, "no ending"),
        ("n" * 900 + ".npy", b"x", 400, "its content is no NumPy array"),
    ],
)
def test_files_that_are_no_query(
    served: Any, name: str, data: bytes, status: int, said: str
) -> None:
    answer, page = send(served, name, data)
    assert said.lower() in sentence(page).lower()
    assert answer.status == status


def test_a_refusal_keeps_the_direction(served: Any) -> None:
    current = re.compile(r'direction=(..)[^"]*" aria-current="true"')
    answer, page = send(served, "query.npy", b"x", "bb")
    assert answer.status == 400 and current.findall(page) == ["bb"]
    answer, data = ask(served, "/?direction=ba&query=ben-14k-twin-00")
    assert answer.status == 404 and current.findall(data.decode()) == ["ba"]
    assert 'value="ben-14k-twin-00"' in data.decode() and "did you mean" in data.decode()


@pytest.mark.soak
def test_bombs_are_refused_with_a_sentence(served: Any, search: Search) -> None:
    card = search.cache.card.a
    made = bombs.bombs((len(card.bands), *card.size), card.dtype, served.run / "record.json")
    before = resident(served.process.pid)
    for name, (data, said) in made.items():
        answer, page = send(served, name, data)
        assert answer.status == 400, name
        assert said in sentence(page) or said.capitalize()[:9] in sentence(page), name
    assert resident(served.process.pid) - before < 256 * 2**20


def resident(pid: int) -> int:
    """Peak resident memory of a process in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024  # type: ignore[index]


def pour(served: Any, head: str, chunked: bool) -> tuple[int, str]:
    """Send 2 GiB of a form behind ``head``; bytes that were taken, and the answer."""
    start = form("big.tif", b"")[0].partition(b"\r\n--xyz--")[0]
    block = bytes(2**20)
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as line:
        line.sendall(head.encode())
        try:
            for piece in [start, *[block] * 2048]:
                line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                sent += len(piece)
        except OSError:
            pass
        try:
            while more := line.recv(65536):
                answer += more
        except OSError:
            pass
    return sent, answer.decode(errors="replace")


@pytest.mark.parametrize("chunked", [False, True])
def test_two_gigabytes_are_cut_early(served: Any, chunked: bool) -> None:
    """A length that is said is refused unread; without one the body is counted as it comes."""
    before = resident(served.process.pid)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2 * GIB}"
    head = (
        f"POST /upload HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n{length}\r\n"
        "Content-Type: multipart/form-data; boundary=xyz\r\n\r\n"
    )
    sent, answer = pour(served, head, chunked)
    assert sent < (128 if chunked else 32) * 2**20
    assert answer.startswith("HTTP/1.1 413 ") and "The file is larger than 64 MiB" in answer
    assert resident(served.process.pid) - before < 400 * 2**20
    assert ask(served, "/")[0].status == 200


def test_other_pages_cannot_ask(served: Any) -> None:
    own = f"http://127.0.0.1:{served.port}"
    for headers in (
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"}, {"Origin": own.replace("127.0.0.1", "localhost")},
    ):  # fmt: skip
        answer, page = send(served, "query.npy", b"x", **headers)
        assert answer.status == 403 and "sent by another page" in page
    answer, page = send(served, "query.npy", b"x", Origin=own, Sec_Fetch_Site="same-origin")
    assert answer.status == 400 and "its content is no NumPy array" in page
    for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1.evil.example", ""):
        assert ask(served, "/", Host=host)[0].status == 400
    assert ask(served, "/", Host=f"localhost:{served.port}")[0].status == 200


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


def test_nothing_is_written(served: Any, search: Search) -> None:
    """Neither in the run's folder, once the index is there, nor for a moment anywhere else."""
    image = np.asarray(search.cache.images("a")[0])
    padded = bombs.npz(bombs.npy(image.shape, image.dtype.str, image.tobytes()), 2**25)
    assert send(served, "warm.npy", npy(image))[0].status == 200
    log = served.log.read_text().splitlines()
    # torch makes an empty folder of its own when it is imported
    written = [line for line in log if line != "/dev/null" and "torchinductor" not in line]
    assert all(Path(line).is_relative_to(served.run) for line in written), written
    tree = {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in served.run.parent.rglob("*")}
    send(served, "large.tif", bytes(30 * 2**20))  # more than would be spooled to a file
    send(served, "../evil.npy", npy(image))
    assert send(served, "packed.npz", padded)[0].status == 200
    assert send(served, "query.npy", npy(image), "ba")[0].status == 400
    assert send(served, "query.npy", npy(image), "ab")[0].status == 200
    assert served.log.read_text().splitlines() == log
    now = {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in served.run.parent.rglob("*")}
    assert now == tree
    assert not list(served.temporary.iterdir())
    assert not list((served.temporary.parent / "here").iterdir())


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
