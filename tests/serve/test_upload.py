"""One image by a form: its bytes and name as they were sent, and nothing of it on a disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import bombs, form, npy, send, sentence
from starlette.requests import Request

from crbench.archive.search import Search
from crbench.cards import load_dataset
from crbench.serve import upload
from crbench.serve.guard import Refused
from crbench.serve.upload import Upload, form_limit, received

KIND = "multipart/form-data; boundary=xyz"


def receive(body: bytes | None, kind: str = KIND, most: int = 10**6, step: int = 7) -> Upload:
    """What is received of a body that comes in pieces of ``step`` bytes; None: it never comes."""
    starts = iter(range(0, len(body or b""), step))

    async def pieces() -> dict[str, Any]:
        if body is None:
            await asyncio.sleep(1)
        assert body is not None
        at = next(starts, len(body))
        return {"type": "http.request", "body": body[at : at + step],
                "more_body": at + step < len(body)}  # fmt: skip

    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body or b""))]
    scope = {"type": "http", "method": "POST", "path": "/upload", "headers": headers}
    return asyncio.run(received(Request(scope, pieces), most))


def field(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


FILE = field("image", b"x", '; filename="a.npy"')
END = b"--xyz--\r\n"


@pytest.mark.parametrize("step", [1, 10**6])
def test_bytes_and_fields_arrive_as_they_were_sent(step: int) -> None:
    data = bytes(range(256)) + b"\r\n--xy\r\n--xyzz"[:-3] + b"\r\n"
    body, kind = form("a.npy", data, direction="ab", query='"<é>&')
    sent = receive(body, kind, most=len(body), step=step)
    assert (sent.path, sent.data) == (Path("a.npy"), data)
    assert sent.fields == {"direction": "ab", "query": '"<é>&'}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/some/where/a.tif", "a.tif"),
        ("me\\\\..\\\\a.tif", "a.tif"),  # a quoted string writes each one twice
        ("a\tb\x7f\u202egpj.tif", "a?b??gpj.tif"),
        ("Ä <b>.tif", "Ä <b>.tif"),
        ("n" * 76 + ".tif", "n" * 76 + ".tif"),
        ("a" + "m" * 76 + ".tif", "a" + "m" * 39 + "…" + "m" * 36 + ".tif"),
        ("/", "."),
    ],
)
def test_of_a_name_the_last_part_is_shown(name: str, shown: str) -> None:
    assert str(receive(form(name, b"x")[0]).path) == shown


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (FILE + END, "application/json", 415, "this is no form"),
        (FILE + END, "multipart/form-data", 400, "damaged: Missing boundary"),
        (b"no form at all", KIND, 400, "the form is damaged"),
        (FILE + FILE + END, KIND, 400, "damaged: Too many files"),
        (field("f", b"") * 5 + FILE + END, KIND, 400, "damaged: Too many fields"),
        (field("f", bytes(1025)) + FILE + END, KIND, 400, "damaged: Part exceeded"),
        (FILE[:-3], KIND, 400, "no file was chosen"),  # cut off
        (field("f", b"") + END, KIND, 400, "no file was chosen"),
        (field("image", b"x") + END, KIND, 400, "no file was chosen"),
        (field("picture", b"x", '; filename="a.npy"') + END, KIND, 400, "no file was chosen"),
        (field("image", b"x", '; filename=""') + END, KIND, 400, "no file was chosen"),
    ],
)
def test_other_forms_are_refused(body: bytes, kind: str, status: int, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        receive(body, kind)
    assert refused.value.status == status


def test_a_form_at_its_limits_is_received() -> None:
    body = field("f", bytes(1024)) + b"".join(field(f"f{n}", b"") for n in range(3)) + FILE + END
    assert len(receive(body, most=len(body)).fields) == 4
    with pytest.raises(Refused, match="larger than") as refused:
        receive(body, most=len(body) - 1)
    assert refused.value.status == 413


def test_a_file_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_SECONDS", 0.05)
    with pytest.raises(Refused, match="took too long") as refused:
        receive(None)
    assert refused.value.status == 408


def test_the_limit_is_that_of_the_sensor_with_the_larger_file() -> None:
    card = load_dataset("ben-14k-twin")
    assert form_limit(card) == 2**26 + 2**16  # small images: 64 MiB beside the form
    assert (len(card.b.bands), card.b.dtype) == (12, "uint16")
    for other, name in (("a", "b"), ("b", "a")):
        small, large = (card.b.model_copy(update={"size": (side, side)}) for side in (32, 2048))
        sizes = card.model_copy(update={other: small, name: large})
        assert form_limit(sizes) == 2 * 12 * 2048 * 2048 * 2 + 2**16


@pytest.mark.parametrize(
    ("name", "data", "status", "words"),
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
    served: Any, name: str, data: bytes, status: int, words: str
) -> None:
    answer, page = send(served, name, data)
    assert words.lower() in sentence(page).lower()
    assert answer.status == status


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
