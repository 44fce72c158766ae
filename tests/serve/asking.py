"""Asking a page over real HTTP, and reading its answers; several files of tests share it."""

from __future__ import annotations

import html
import http.client
import importlib.util
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

SPEC = importlib.util.spec_from_file_location(
    "bombs", Path(__file__).parents[1] / "data" / "bombs.py"
)
assert SPEC is not None and SPEC.loader is not None
bombs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bombs)


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
    alert = re.search(r'role="alert">(.*?)</div>', page, flags=re.DOTALL)
    assert alert is not None, page[:2000]
    return html.unescape(re.sub(r"<.*?>", "", alert[1]))


def resident(pid: int) -> int:
    """Peak resident memory of a process in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024  # type: ignore[index]
