"""The web application: one page, the pictures on it, and a form that takes an image."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from crbench.board.writers import TEMPLATES
from crbench.data.query_image import read_query
from crbench.errors import UserError
from crbench.serve.guard import HOSTS, Guard, Refused
from crbench.serve.page import TOPS, Pages, PageState
from crbench.serve.thumbnails import Thumbnails
from crbench.serve.upload import Upload, form_limit, received

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from crbench.archive.search import Search

_ASSETS = ("site.css", "search.css")
_STATUS = {  # what the framework refuses by itself
    404: UserError("there is no such page", fix="start from the first page"),
    405: UserError("this page takes no such request", fix="start from the first page"),
}
_FAILED = UserError("the program failed", fix="see the terminal in which crbench serve runs")


def application(search: Search) -> ASGIApp:
    """The page of an opened run, to be served on this machine."""
    thumbnails = Thumbnails(search.cache)
    pages = Pages(search)
    most = form_limit(search.cache.card)
    lock = Lock()  # one search at a time: each uses all threads
    receiving = asyncio.Semaphore(2)  # files in memory at a time

    def index(request: Request) -> Response:
        state = _state_of(request.query_params, search)
        if not state.query:
            return HTMLResponse(pages.page(state))
        try:
            with lock:
                answer = search.by_id(state.query, state.direction, state.top)
        except UserError as error:
            return error_page(400 if state.query in search.row_of else 404, error, state)
        return HTMLResponse(pages.page(state, answer))

    async def upload(request: Request) -> Response:
        async with receiving:
            sent = await received(request, most)
            return await run_in_threadpool(answer_upload, sent)

    def answer_upload(sent: Upload) -> Response:
        state = _state_of(sent.fields, search)
        modality = state.direction[0]
        try:
            pixels = read_query(sent.path, search.cache.card.modality(modality), sent.data)
            with lock:
                answer = search.by_image(pixels, state.direction, state.top, name=sent.path.name)
        except UserError as error:
            return error_page(400, error, state)
        picture = thumbnails.of_image(pixels, modality)
        return HTMLResponse(pages.page(state, answer, picture=picture))

    def image(request: Request) -> Response:
        modality, row = request.path_params["modality"], request.path_params["row"]
        if modality not in ("a", "b") or row >= search.cache.n:
            raise HTTPException(404)
        headers = {"ETag": thumbnails.etag(modality, row), "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(thumbnails.png(modality, row), media_type="image/png", headers=headers)

    def asset(request: Request) -> Response:
        if request.path_params["name"] not in _ASSETS:
            raise HTTPException(404)
        text = (TEMPLATES / request.path_params["name"]).read_text(encoding="utf-8")
        return Response(text, media_type="text/css", headers={"Cache-Control": "no-cache"})

    def error_page(status: int, error: UserError, state: PageState = pages.first) -> Response:
        return HTMLResponse(pages.page(state, error=error), status)

    def refused(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, Refused)
        return error_page(problem.status, problem.error)

    def http(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        answer = error_page(problem.status_code, _STATUS.get(problem.status_code, _FAILED))
        answer.headers.update(problem.headers or {})
        return answer

    inner = Starlette(
        routes=[
            Route("/", index),
            Route("/upload", upload, methods=["POST"]),
            Route("/image/{modality}/{row:int}.png", image),
            Route("/assets/{name}", asset),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        exception_handlers={
            Refused: refused,
            HTTPException: http,
            ClientDisconnect: lambda *_: Response(status_code=400),
            Exception: lambda *_: error_page(500, _FAILED),
        },
    )
    return Guard(inner, most)


def warm(search: Search) -> None:
    """Load the model and every index before the first question; what is broken is known at once."""
    for direction in search.directions:
        modality = direction[0]
        row = int(search.cache.rows(search.protocol.query)[0])
        bands = search.cache.band_positions(modality)
        image = search.cache.images(modality)[row]
        search.by_image(image if bands is None else image[bands], direction, 1)


def _state_of(fields: Mapping[str, Any], search: Search) -> PageState:
    """What the address or the form asks for; what is not there gets its usual value."""
    direction = str(fields.get("direction") or search.default_direction)
    if direction not in search.directions:
        raise Refused(404, UserError(f"this run does not serve the direction '{direction}'",
                                     fix=f"it serves {', '.join(search.directions)}"))  # fmt: skip
    numbers = {}
    for name, usual, least, most in (("top", TOPS[1], 1, TOPS[-1]), ("examples", 0, 0, 10**6)):
        text = str(fields.get(name) or usual)
        plain = text.isascii() and text.isdecimal() and len(text) < 8
        if not plain or not least <= int(text) <= most:
            problem = UserError(f"{name} is '{text}'", fix=f"give a number from {least} to {most}")
            raise Refused(400, problem)
        numbers[name] = int(text)
    return PageState(direction, str(fields.get("query") or ""), **numbers)
