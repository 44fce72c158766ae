"""What is refused before it is answered: other origins, other hosts, and bodies without end."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterable
from typing import Any

import pytest
from asking import ask, form, resident, send
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crbench.serve import guard
from crbench.serve.guard import Guard, Refused, check_length, check_origin, has_body

MIB, GIB = 2**20, 2**30


async def reads(request: Request) -> Response:
    return Response(f"{len(await request.body())} bytes")


async def reads_nothing(request: Request) -> Response:
    return Response("done", headers={"Cache-Control": "max-age=60", "X-Content-Type-Options": "x"})


def refusal(_: Request, problem: Any) -> Response:
    return Response(str(problem), problem.status)


INNER = Starlette(
    routes=[Route(path, way, methods=["POST"]) for path, way in
            (("/reads", reads), ("/nothing", reads_nothing))],
    exception_handlers={Refused: refusal},
)  # fmt: skip


def exchange(
    path: str, chunks: Iterable[bytes], most: int = 10, last: str = "http.request"
) -> tuple[int, Headers, bytes, int]:
    """Send a body in ``chunks`` to the guarded application: the status, headers and body of the
    answer, and how many chunks were taken. The last one ends the body, or is ``last``."""
    pieces = iter(chunks)
    following = next(pieces, None)
    taken, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal following, taken
        if following is None:
            await asyncio.sleep(1)  # the client sends no more, and waits
        piece, following = following, next(pieces, None)
        taken += 1
        kind = "http.request" if following is not None else last
        return {"type": kind, "body": piece, "more_body": following is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"",
             "headers": [(b"transfer-encoding", b"chunked")]}  # fmt: skip
    asyncio.run(Guard(INNER, most)(scope, receive, send))
    ends = [not message.get("more_body") for message in sent[1:]]
    assert ends == [False] * (len(ends) - 1) + [True]  # the answer ends once
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], Headers(raw=sent[0]["headers"]), body, taken


@pytest.mark.parametrize(
    ("chunks", "status", "answer"),
    [
        ([b""], 200, "10 bytes"),
        ([b"", b"", b""], 200, "10 bytes"),
        ([b"x"], 413, "the file is larger than"),
        ([b"", b"x", b""], 413, "the file is larger than"),
    ],
)
def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not(
    chunks: list[bytes], status: int, answer: str
) -> None:
    got = exchange("/reads", [b"12345", b"67890", *chunks])
    assert (got[0], got[2].decode()[: len(answer)]) == (status, answer)


def test_of_a_body_that_is_not_read_8_mib_are_dropped_and_the_line_is_closed() -> None:
    status, headers, body, taken = exchange("/nothing", itertools.repeat(bytes(MIB)))
    assert (status, body, headers["connection"]) == (200, b"done", "close")
    assert taken == 8
    assert exchange("/nothing", [bytes(MIB)] * 3)[3] == 3  # one that ends is read to its end
    assert exchange("/nothing", [b"1", b""], last="http.disconnect")[3] == 2
    assert "connection" not in exchange("/reads", [b"1", b"2"])[1]  # read: the line may stay


def test_a_client_that_sends_no_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_DRAIN_SECONDS", 0.05)
    assert exchange("/nothing", [])[2:] == (b"done", 0)


def test_headers_of_the_guard_stand_and_a_chosen_storage_stays() -> None:
    chosen, usual = (exchange(path, [b"1"])[1] for path in ("/nothing", "/reads"))
    assert (chosen["cache-control"], usual["cache-control"]) == ("max-age=60", "no-store")
    assert chosen.getlist("x-content-type-options") == ["nosniff"]


def test_what_is_no_request_goes_through() -> None:
    seen = []

    async def inner(*arguments: Any) -> None:
        seen.extend(arguments)

    asyncio.run(Guard(inner, 0)({"type": "lifespan"}, receive := object(), send := object()))  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan"}, receive, send]


@pytest.mark.parametrize(
    ("headers", "announced"),
    [({}, False), ({"content-length": "0"}, False), ({"content-length": "1"}, True),
     ({"transfer-encoding": "chunked"}, True)],
)  # fmt: skip
def test_a_body_is_announced_by_its_length_or_its_encoding(
    headers: dict[str, str], announced: bool
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert has_body({"type": "http", "headers": raw}) == announced


def test_a_length_up_to_the_limit_is_taken() -> None:
    for length in ("0", "1", str(3 * MIB), f"000{3 * MIB}"):
        check_length(Headers({"content-length": length}), 3 * MIB)
    check_length(Headers({}), 0)  # not said: the guard counts
    for length in (str(3 * MIB + 1), str(10**18), "-1", "+1", "1.0", "1e3", "²", "", " ", "one"):
        with pytest.raises(Refused, match="the file is larger than 3 MiB") as refused:
            check_length(Headers({"content-length": length}), 3 * MIB)
        assert refused.value.status == 413


def test_the_own_origin_is_of_the_same_scheme_host_and_port() -> None:
    host = "127.0.0.1:80"
    for site in ("same-origin", "none"):
        check_origin(Headers({"host": host, "origin": f"http://{host}", "sec-fetch-site": site}))
    check_origin(Headers({"host": host}))  # no browser
    for origin in (f"https://{host}", f"http://{host}0", "http://127.0.0.1", f"http://{host}/", ""):
        with pytest.raises(Refused, match="another page"):
            check_origin(Headers({"host": host, "origin": origin, "sec-fetch-site": "none"}))


def test_every_answer_forbids_what_the_page_does_not_need(served: Any) -> None:
    for path in ("/", "/image/a/0.png", "/assets/site.css", "/nowhere"):
        headers = ask(served, path)[0].headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script" not in headers["content-security-policy"]


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
