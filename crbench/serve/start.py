"""Listening on this machine alone, until the process is interrupted."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from crbench.errors import UserError, needs

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_HOST = "127.0.0.1"  # never another one: the page has no users and no passwords


def check_installed() -> None:
    """A UserError that names the extra, where the web framework is not there."""
    with needs("serve", "crbench serve"):
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401


def listen(port: int) -> socket.socket:
    """A socket that accepts connections of this machine at ``port``; 0 takes any that is free."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
        listening.listen(64)
    except OSError as error:
        listening.close()
        reasons = {
            errno.EADDRINUSE: "another program listens there",
            errno.EACCES: "permission denied",
        }
        raise UserError(
            f"port {port} is not to be had: {reasons.get(error.errno or 0, error.strerror)}",
            where=f"{_HOST}:{port}",
            fix="choose another one by --port; --port 0 takes any that is free",
        ) from error
    return listening


def address(listening: socket.socket) -> str:
    """The page's URL."""
    return f"http://{_HOST}:{listening.getsockname()[1]}/"


def answer_requests(app: ASGIApp, listening: socket.socket) -> None:
    """Answer until the process is interrupted; errors of the program alone are logged.

    Returns after SIGINT, whether the process was started with that signal ignored (``nohup``) or
    not: the web server raises it again when it has ended, and that is no error here.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=3,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
