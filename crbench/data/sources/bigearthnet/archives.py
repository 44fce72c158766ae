"""Archives read once, as a stream: the wanted files are kept in a folder beside the cache.

An archive of BigEarthNet holds millions of files in an order of its own, and a compressed stream
has no random access. So the files of wanted patches are written, as they come, into a folder that
is removed when the cache is done. A build that was killed keeps the files that are whole, and never
reads an archive again that it had finished. Nothing lands where an archive says: its names are
compared, and a file's name is that of a patch, which leads nowhere else.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from crbench.data.sources.bigearthnet.layouts import JSON, Layout, PatchFiles, by_name
from crbench.data.sources.bigearthnet.members import S1_NAME, S2_NAME, canonical
from crbench.data.sources.bigearthnet.tiff import FACTORS
from crbench.data.sources.raw import damage_named, file_fingerprint
from crbench.errors import UserError
from crbench.files import append_jsonl, read_jsonl
from crbench.progress import bar

_RESTS = (JSON, *(f"_{name}.tif" for name in FACTORS))
_FILE_NAME = re.compile(rf"(?:{S2_NAME.pattern}|{S1_NAME.pattern})(?:{'|'.join(_RESTS)})")
_FROM_PUBLISHER = "get the archive from its publisher"
_DAMAGED = "a header is damaged, or its end is missing"
_MAX_FILE = 2**20  # a band has 58 kB, its metadata 1 kB: more is no patch


def unpack_archives(
    archives: Sequence[Path], raw: Path, keep: Callable[[str], bool], choice: str, quiet: bool
) -> Layout:
    """Stream the archives into the folder ``raw`` and give what was kept as a v1 layout.

    ``keep`` says by canonical name whether a patch is wanted, ``choice`` is the digest of that:
    what was kept for another choice or from other archives is thrown away.
    """
    log = raw / "log.jsonl"
    header = {"archives": file_fingerprint(archives), "choice": choice}
    lines = read_jsonl(log) if log.is_file() else []
    if lines[:1] != [header]:
        shutil.rmtree(raw, ignore_errors=True)
        raw.mkdir()
        append_jsonl(log, header)
        lines = [header]
    finished = {line["finished"]: line["bytes"] for line in lines[1:]}
    names = {raw / str(number): archive.name for number, archive in enumerate(archives)}
    for archive, root in zip(archives, names, strict=True):
        root.mkdir(exist_ok=True)
        if finished.get(archive.name) != _bytes(root):  # read for the first time, or files lost
            _stream(archive, root, keep, quiet)
            if hasattr(os, "sync"):  # what the log says is on the disk is there
                os.sync()
            append_jsonl(log, {"finished": archive.name, "bytes": _bytes(root)})
    where = ", ".join(names.values())
    patches = dict.fromkeys(name for root in names for name in sorted(os.listdir(root)))
    store = PatchFiles({"S1": list(names), "S2": list(names)}, names=names)
    return Layout(f"BigEarthNet v1, archives {where}", store, by_name(patches, where))


def _bytes(root: Path) -> int:
    return sum(file.stat().st_size for patch in os.scandir(root) for file in os.scandir(patch))


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whenever a kill comes."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.parents[2] / "being-written"
    temporary.write_bytes(content)
    os.replace(temporary, path)


class _Member(tarfile.TarInfo):
    """A header. ``tarfile`` takes one that is damaged or missing for the end, which is of zeros."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise
            raise tarfile.ReadError(_DAMAGED) from error


def _stream(archive: Path, root: Path, keep: Callable[[str], bool], quiet: bool) -> None:
    """Write the wanted files of one archive that are not in ``root`` yet, and check it to its end.

    ``gzip`` checks lengths and sums, which ``tarfile`` on its own does not. Behind the end there
    may be nothing but zeros.
    """
    with damage_named("cannot read this archive", archive, OSError, fix=None):
        raw = open(archive, "rb")  # noqa: SIM115 - closed below
    last = "its beginning"
    kept = count = 0
    seen: dict[str, int] = {}  # files of each patch, as bits

    with raw, bar(archive.name, archive.stat().st_size, "bytes", quiet=quiet) as shown:
        shown.note = lambda: f"{kept:,} files kept"
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = io.BufferedReader(gzip.GzipFile(fileobj=raw), 2**20) if packed else raw
        try:
            with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # else it keeps millions
                    last = f"'{member.name}'"
                    if (count := count + 1) % 256 == 0:  # a bar costs more than a header
                        shown.advance(raw.tell() - shown.done)
                    _check_member(member, archive)
                    if (file := _wanted(member, keep, archive)) is None:
                        continue
                    patch, rest = file
                    bits, bit = seen.get(canonical(patch), 0), 1 << _RESTS.index(rest)
                    if bits & bit:
                        raise UserError(f"{last} is in this archive twice", where=archive)
                    seen[canonical(patch)] = bits | bit
                    kept += 1
                    path = root / patch / f"{patch}{rest}"
                    if not path.is_file() or path.stat().st_size != member.size:
                        _write_whole(path, cast(IO[bytes], tar.extractfile(member)).read())
            while tail := stream.read(2**20):
                if tail.strip(b"\0"):
                    raise tarfile.ReadError(_DAMAGED)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(
                f"this archive is damaged or cut, at or after {last} ({error})",
                where=archive,
                fix="get it again",
            ) from error


def _check_member(member: tarfile.TarInfo, archive: Path) -> None:
    """Refuse what an archive of patches never holds: links, devices, files with holes, ways out."""
    path = PurePosixPath(member.name)
    plain = member.isdir() or (member.isfile() and not member.issparse())
    if not plain or path.is_absolute() or ".." in path.parts:
        kind = "a path that leaves the archive" if plain else "no plain file"
        what = f"'{member.name}' is {kind}: archives of BigEarthNet hold plain files alone"
        raise UserError(what, where=archive, fix=_FROM_PUBLISHER)


def _wanted(
    member: tarfile.TarInfo, keep: Callable[[str], bool], archive: Path
) -> tuple[str, str] | None:
    """Patch and rest of the name of a file that is to be kept."""
    parts = member.name.rsplit("/", 2)
    if not member.isfile() or len(parts) < 2 or not _FILE_NAME.fullmatch(parts[-1]):
        return None
    patch, rest = parts[-2], parts[-1][len(parts[-2]) :]
    if rest not in _RESTS or not parts[-1].startswith(patch) or not keep(canonical(patch)):
        return None
    if member.size > _MAX_FILE:
        what = f"'{member.name}' has {member.size:,} bytes, more than a band of a patch can have"
        raise UserError(what, where=archive, fix=_FROM_PUBLISHER)
    return patch, rest
