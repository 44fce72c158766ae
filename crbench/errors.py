"""The one error a user sees: what is wrong, where, and what to do about it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """Bad input, reported in one message without a traceback (exit code 2).

    ``what`` names the problem, ``where`` the file, key or row it sits in, ``fix`` the next step.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: object = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"where: {self.where}"] if self.where else []
        lines += [f"fix: {self.fix}"] if self.fix else []
        return "\n".join(lines)


class Collapsed(UserError):
    """Training was ended because the embeddings collapsed, as it was asked to (exit code 3)."""

    exit_code = 3


@contextlib.contextmanager
def needs(extra: str, what: str, *, where: object = None, otherwise: str = "") -> Iterator[None]:
    """Around the imports of what an extra brings: one that fails is a UserError that says what
    needs it, and what can be done ``otherwise``."""
    try:
        yield
    except ImportError as error:
        missing = f"{error.name or extra}, which is not installed ({error})"
        fix = f'pip install "crbench[{extra}]"{otherwise}'
        raise UserError(f"{what} needs {missing}", where=where, fix=fix) from error


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest in spelling to ``name``, or None where nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(kind: str, name: str, known: Iterable[str], *, where: object = None) -> UserError:
    """An error for a name that does not exist, naming the nearest one that does."""
    names = sorted(known)
    near = nearest(name, names)
    fix = f"did you mean '{near}'?" if near else None
    listing = ", ".join(names) if names else "none"
    return UserError(
        f"unknown {kind} '{name}'",
        where=where,
        fix=f"{fix} (known: {listing})" if fix else f"known: {listing}",
    )
