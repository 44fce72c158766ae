"""One image sent by a form: received into memory, never written to a disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from crbench.errors import UserError
from crbench.serve.guard import Refused, check_length, check_origin

if TYPE_CHECKING:
    from crbench.cards import DatasetCard

_SECONDS = 60.0  # in which a file must have arrived
_FORM = 64 * 2**10  # bytes of a form beside its file
_LONGEST = 80  # letters of a file's name that are shown


@dataclass(frozen=True)
class Upload:
    """A file: ``path`` is its name alone, for its ending and to be shown, and leads nowhere."""

    path: Path
    data: bytes
    fields: Mapping[str, str]


def form_limit(card: DatasetCard) -> int:
    """Bytes that a form with an image of either sensor may have."""
    from crbench.data.sources.user.images import room

    return _FORM + max(room(card.a), room(card.b))


async def received(request: Request, most: int) -> Upload:
    """The file ``image`` and the fields of a form; anything else is Refused with a sentence."""
    check_origin(request.headers)
    check_length(request.headers, most)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(415, UserError("this is no form with a file", fix="use the form"))
    stream = cast(AsyncGenerator[bytes, None], request.stream())
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=4, max_part_size=1024)
    parser.spool_max_size = most + 1  # below it nothing is written to a temporary file
    try:
        async with asyncio.timeout(_SECONDS):
            form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, UserError(f"the form is damaged: {error.message}",
                                     fix="send it again")) from error  # fmt: skip
    except TimeoutError as error:
        raise Refused(408, UserError("the file took too long", fix="send it again")) from error
    try:
        file = form.get("image")
        if not isinstance(file, UploadFile) or not file.filename:
            raise Refused(400, UserError("no file was chosen", fix="choose an image"))
        fields = {key: value for key, value in form.items() if isinstance(value, str)}
        return Upload(_shown_name(file.filename), await file.read(), fields)
    finally:
        await form.close()


def _shown_name(filename: str) -> Path:
    """The last part of what a client calls its file, shortened and without control characters."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    if len(name) > _LONGEST:
        name = name[: _LONGEST // 2] + "…" + name[-_LONGEST // 2 :]
    return Path(name)
