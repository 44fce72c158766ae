"""What cards name and other packages may add: by entry point, or as ``package.module:Class``.

An entry point is chosen by who installs its package, so its key is as free to use as one of ours.
``package.module:Class`` runs whatever the card says; only a user's own card may name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from crbench.errors import UserError, unknown


def registered(group: str, built_in: Mapping[str, str]) -> dict[str, str]:
    """Keys and where they lead, as ``module:name``: the entry points of ``group`` (for example
    ``crbench.methods``) that are installed, and ``built_in``, which they cannot replace."""
    return {entry.name: entry.value for entry in entry_points(group=group)} | dict(built_in)


def import_named(
    key: str, group: str, built_in: Mapping[str, str], *, kind: str, where: object
) -> Any:
    """What ``key`` names: registered as in :func:`registered`, else ``package.module:Class``.

    ``kind`` and ``where`` stand in the UserError of a key that leads nowhere.
    """
    known = registered(group, built_in)
    target = known.get(key, key)
    if ":" not in target:
        raise unknown(kind, key, known, where=where)
    try:
        return EntryPoint(key, target, group).load()
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"cannot import {kind} '{key}': {error}",
            where=where,
            fix="install the package that holds it, or correct the card",
        ) from error
