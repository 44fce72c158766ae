"""Atomic writes, append-only logs and digests. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crbench.errors import UserError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; on success fsync it and rename it over ``path``.

    On any failure the sibling is removed and ``path`` stays as it was, so that a reader sees
    the old file or the new one, never half of either. A full disk or a folder that cannot be
    written becomes a UserError that names the path.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


HELD = "another process works in this folder"


@contextlib.contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold ``folder`` for this process; one that another process holds is a UserError.

    The lock is the system's and ends with the process, however that ends. Where there are no such
    locks (Windows, some network file systems) nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(HELD, where=folder, fix="wait until it has ended") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def check_writable(path: str | os.PathLike[str]) -> None:
    """UserError unless ``path`` can be written: to be asked before long work, not after it.

    Tries it in the nearest folder that exists; makes no folder and leaves nothing behind.
    """
    target = Path(path)
    if target.is_dir():
        raise disk_error(IsADirectoryError(errno.EISDIR, ""), target)
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    probe = folder / f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise disk_error(error, target) from error


def disk_error(error: OSError, path: str | os.PathLike[str]) -> UserError:
    """The UserError that says why ``path`` cannot be written and what to do about it."""
    reasons = {
        errno.ENOSPC: ("no space left on the device", "free some space or choose another --out"),
        errno.EDQUOT: ("the disk quota is used up", "free some space or choose another --out"),
        errno.EFBIG: ("the file would exceed the allowed file size", "raise the limit (ulimit -f)"),
        errno.EACCES: ("permission denied", "choose a folder that you may write to"),
        errno.EPERM: ("operation not permitted", "choose a folder that you may write to"),
        errno.EROFS: ("the file system is read-only", "choose a folder that you may write to"),
        errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another path"),
        errno.EISDIR: ("this is a folder, not a file", "name a file"),
        errno.EEXIST: ("a file stands where a folder is needed", "choose another path"),
    }
    what, fix = reasons.get(error.errno or 0, (error.strerror or str(error), "choose another path"))
    return UserError(f"cannot write {path}: {what}", where=path, fix=fix)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; file systems that cannot fsync a folder are left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 ``text`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; a file that is none is a UserError naming line and column."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"not a JSON file: {error}", where=path, fix="restore it, or make it anew"
        ) from error


def append_jsonl(path: str | os.PathLike[str], value: Any) -> None:
    """Append one JSON line; a line torn by a kill is tolerated by read_jsonl."""
    try:
        with open(path, "a+b") as handle:
            if handle.tell() > 0:
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":  # a kill tore the last line: start a fresh one
                    handle.write(b"\n")
            handle.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise disk_error(error, path) from error


def read_jsonl(path: str | os.PathLike[str]) -> list[Any]:
    """All whole lines of an append-only log; torn lines are skipped."""
    values = []
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            values.append(json.loads(line))
    return values


def sha256_json(value: Any) -> str:
    """SHA-256 (hex) of ``value`` as JSON in one spelling: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file's bytes, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
