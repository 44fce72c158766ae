"""Benchmarks whose raw archives this version cannot read yet: said plainly, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from crbench.cards import DatasetCard
from crbench.errors import UserError


def open_source(card: DatasetCard, source_dir: Path | None) -> NoReturn:
    """Always a UserError: the reader of ``card.source["kind"]`` does not exist yet."""
    raise UserError(
        f"reading the raw archives of {card.title} is not built yet",
        where=source_dir or card.name,
        fix=f"meanwhile: '{card.name}-twin' (synthetic, same bands, classes and protocol), the "
        "real sets 'landsat7-pan-ms' and 'eurosat-wald', or a cache in this program's format "
        f"made by other means and put where 'crbench cache info {card.name}' looks",
    )
