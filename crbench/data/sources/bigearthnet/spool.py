"""Archives read once, as a stream: what is needed of them is kept beside the cache being built.

An archive of BigEarthNet holds millions of files in an order of its own, and a compressed stream
has no random access. So the files of wanted patches are appended, as they come, to one scratch
file; its log names them, batch by batch, with a digest. A build that was killed keeps the batches
whose bytes still have that digest, and never reads an archive again that it had finished.
Nothing is ever extracted: names in an archive are compared, not used as paths.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tarfile
import zlib
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from crbench.data.cache.verify import progress_bar
from crbench.data.sources.bigearthnet.layouts import JSON, Layout, by_name
from crbench.data.sources.bigearthnet.members import S1_NAME, S2_NAME, canonical
from crbench.data.sources.bigearthnet.tiff import FACTORS
from crbench.data.sources.raw import file_fingerprint
from crbench.errors import UserError
from crbench.files import append_jsonl, read_jsonl

if TYPE_CHECKING:
    from rich.progress import Progress

RESTS = (JSON, *(f"_{name}.tif" for name in FACTORS))
SLOT = {rest: number for number, rest in enumerate(RESTS)}
FILE_NAME = re.compile(rf"(?:{S2_NAME.pattern}|{S1_NAME.pattern})(?:{'|'.join(RESTS)})")
BATCH_BYTES = 16 * 2**20
MAX_FILE = 2**20  # a band has 58 kB, its metadata 1 kB: more is no patch
Entry = tuple[str, str, int, int]  # patch, rest of the file's name, offset and bytes in the scratch


class Spool:
    """Files of patches in the scratch file: a ``Store``. About 0.3 kB of memory per patch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: dict[str, array[int]] = {}
        self._archive: dict[str, str] = {}

    @property
    def patches(self) -> list[str]:
        """Names of the patches of which a file was found."""
        return list(self._index)

    def has(self, patch: str, rest: str) -> bool:
        """Whether this file is kept."""
        return patch in self._index and self._index[patch][2 * SLOT[rest] + 1] >= 0

    def add(self, entry: Entry, archive: str) -> None:
        """Note where a file lies."""
        patch, rest, offset, size = entry
        if patch not in self._index:
            self._index[patch] = array("q", [-1]) * (2 * len(RESTS))
            self._archive[patch] = archive
        self._index[patch][2 * SLOT[rest] : 2 * SLOT[rest] + 2] = array("q", [offset, size])

    def files(self, patch: str) -> dict[str, int]:
        """See ``Store``; empty files count as absent."""
        slots = self._index.get(patch)
        if slots is None:
            return {}
        return {r: slots[2 * k + 1] for r, k in SLOT.items() if slots[2 * k + 1] > 0}

    def fetch(self, patch: str, rest: str) -> bytes:
        """See ``Store``."""
        offset, size = self._index[patch][2 * SLOT[rest] : 2 * SLOT[rest] + 2]
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def place(self, patch: str, rest: str) -> str:
        """See ``Store``."""
        return f"{self._archive[patch]}, {patch}/{patch}{rest}"


def spool_archives(
    archives: Sequence[Path],
    scratch: Path,
    keep: Callable[[str], bool],
    asked: str,
    quiet: bool,
) -> Layout:
    """Stream the archives into ``scratch`` and give what was found as a v1 layout.

    ``keep`` says by canonical name whether a patch is wanted, ``asked`` is the digest of that
    choice: the scratch of another choice or of other archives is made anew.
    """
    log = scratch.with_name(scratch.name + ".log")
    spool = Spool(scratch)
    header = {"archives": file_fingerprint(archives), "asked": asked}
    done = _resume(spool, log, header)
    with progress_bar(quiet) as progress:
        for archive in archives:
            if archive.name not in done:
                _stream(archive, spool, log, keep, progress)
    where = ", ".join(path.name for path in archives)
    disk = by_name(spool.patches, where)
    return Layout(f"BigEarthNet v1, archives {where}", spool, disk)


def _resume(spool: Spool, log: Path, header: dict[str, str]) -> set[str]:
    """Load what an earlier build kept and cut off what it had not noted; archives finished."""
    lines = read_jsonl(log) if log.is_file() and spool.path.is_file() else []
    done: set[str] = set()
    end = 0
    if lines and lines[0] == header:
        sound = [lines[0]]
        with open(spool.path, "rb") as file:
            for line in lines[1:]:
                if "files" in line:
                    if hashlib.sha256(file.read(line["end"] - end)).hexdigest() != line["sha256"]:
                        break
                    for entry in line["files"]:
                        spool.add(tuple(entry), line["archive"])
                    end = line["end"]
                else:
                    done.add(line["finished"])
                sound.append(line)
        if len(sound) < len(lines):  # what follows bytes that were lost is not trusted either
            _rewrite(log, sound)
    else:
        log.unlink(missing_ok=True)
        spool.path.touch()
        append_jsonl(log, header)
    os.truncate(spool.path, end)
    return done


def _rewrite(log: Path, lines: list[Any]) -> None:
    temporary = log.with_name(log.name + ".tmp")
    temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    os.replace(temporary, log)


class _Watched:
    """A stream that knows how far it was read and where its last byte other than zero stood."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.position = 0
        self.content_end = 0

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        if content := len(chunk.rstrip(b"\0")):
            self.content_end = self.position + content
        self.position += len(chunk)
        return chunk


class _Batches:
    """Appends files to the scratch and notes them in the log, a batch at a time."""

    def __init__(self, spool: Spool, log: Path, archive: str, out: IO[bytes]) -> None:
        self._spool, self._log, self._archive, self._out = spool, log, archive, out
        self._begin()

    def _begin(self) -> None:
        self._files: list[Entry] = []
        self._bytes = 0
        self._digest = hashlib.sha256()

    def add(self, patch: str, rest: str, content: bytes) -> None:
        """Append a file; it counts once its batch is in the log."""
        self._files.append((patch, rest, self._out.tell(), len(content)))
        self._out.write(content)
        self._digest.update(content)
        self._bytes += len(content)
        if self._bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the batch out, then note it."""
        if self._files:
            self._out.flush()
            line = {"archive": self._archive, "files": self._files, "end": self._out.tell()}
            append_jsonl(self._log, {**line, "sha256": self._digest.hexdigest()})
            for entry in self._files:
                self._spool.add(entry, self._archive)
        self._begin()


def _stream(
    archive: Path, spool: Spool, log: Path, keep: Callable[[str], bool], progress: Progress
) -> None:
    """Append the wanted files of one archive that are not kept yet, and check it to its end.

    ``gzip`` checks lengths and sums, which ``tarfile`` on its own does not, and an archive must
    end as archives do: a header that is damaged looks to ``tarfile`` like an end.
    """
    try:
        raw = open(archive, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"cannot read this archive ({error.strerror})", where=archive) from error
    task = progress.add_task(f"{archive.name}: MB", total=archive.stat().st_size >> 20)
    last = "its beginning"
    kept = count = 0
    seen: dict[str, int] = {}  # files of each patch, as bits
    with raw, open(spool.path, "ab") as out:
        batches = _Batches(spool, log, archive.name, out)
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        watched = _Watched(cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw))
        try:
            with tarfile.open(fileobj=cast(IO[bytes], watched), mode="r|", bufsize=2**20) as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # else it keeps millions
                    last = f"'{member.name}'"
                    if (count := count + 1) % 256 == 0:  # a bar costs more than a header
                        text = f"{archive.name}: {kept:,} files kept, MB"
                        progress.update(task, completed=raw.tell() >> 20, description=text)
                    _check_member(member, archive)
                    if (found := _wanted(member, keep, archive)) is None:
                        continue
                    patch, rest = found
                    bit = 1 << SLOT[rest]
                    if seen.get(canonical(patch), 0) & bit:
                        raise UserError(f"{last} is in this archive twice", where=archive)
                    seen[canonical(patch)] = seen.get(canonical(patch), 0) | bit
                    kept += 1
                    if not spool.has(patch, rest):
                        batches.add(patch, rest, cast(IO[bytes], tar.extractfile(member)).read())
                end = tar.offset
            while watched.read(2**20):
                pass
            text = f"{archive.name}: {kept:,} files kept, MB"
            progress.update(task, completed=raw.tell() >> 20, description=text)
            if watched.content_end > end or watched.position < end + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("a header is damaged, or its end is missing")
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(
                f"this archive is damaged or cut, at or after {last} ({error})",
                where=archive,
                fix="get it again",
            ) from error
        batches.flush()
        os.fsync(out.fileno())
    append_jsonl(log, {"finished": archive.name})


def _check_member(member: tarfile.TarInfo, archive: Path) -> None:
    """Refuse what an archive of patches never holds: links, devices, ways out of its folder."""
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
        kind = "a path that leaves the archive" if member.isfile() or member.isdir() else "no file"
        raise UserError(
            f"'{member.name}' is {kind}: archives of BigEarthNet hold plain files alone",
            where=archive,
            fix="get the archive from its publisher",
        )


def _wanted(
    member: tarfile.TarInfo, keep: Callable[[str], bool], archive: Path
) -> tuple[str, str] | None:
    """Patch and rest of the name of a file that is to be kept."""
    parts = member.name.rsplit("/", 2)
    if not member.isfile() or len(parts) < 2 or not FILE_NAME.fullmatch(parts[-1]):
        return None
    patch, rest = parts[-2], parts[-1][len(parts[-2]) :]
    if rest not in SLOT or not parts[-1].startswith(patch) or not keep(canonical(patch)):
        return None
    if member.size > MAX_FILE:
        raise UserError(
            f"'{member.name}' has {member.size:,} bytes, more than a band of a patch can have",
            where=archive,
            fix="get the archive from its publisher",
        )
    return patch, rest
