"""Named seeds: a seed is the hash of what it is for, so adding one thing never moves another's."""

from __future__ import annotations

import hashlib


def derive(*names: object) -> int:
    """A seed in [0, 2**63) from the names of its purpose, e.g. ``derive(seed, "init", method)``."""
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
