"""Where a card's ``class`` leads: one line per method, imported when it is built."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from crbench.cards import MethodCard
from crbench.errors import UserError, unknown
from crbench.models.base import Method

METHODS = {
    "cr-jepa": "crbench.models.cr_jepa:CRJEPA",
    "x-jepa": "crbench.models.x_jepa:XJEPA",
    "rejepa": "crbench.models.rejepa:REJEPA",
    "band-stats": "crbench.models.baselines:BandStats",
    "cca": "crbench.models.baselines:CCA",
}


def method_class(card: MethodCard) -> type[Method]:
    """The class that a card names: by registry key, or as ``package.module:Class``."""
    target = METHODS.get(card.cls, card.cls)
    module, colon, attribute = target.partition(":")
    if not colon:
        raise unknown("method class", card.cls, METHODS, where=f"method card '{card.name}'")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"cannot import method class '{card.cls}': {error}",
            where=f"method card '{card.name}'",
            fix="install the package that holds it, or correct 'class' in the card",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"'{card.cls}' is no Method", where=f"method card '{card.name}'")
    return found


def build(card: MethodCard, bands: Mapping[str, int]) -> Method:
    """The method of a card for the given number of bands per modality."""
    return method_class(card)(card, bands)


def check_class(card: MethodCard, where: object) -> None:
    """Refuse a card whose class is not one of this package's: a foreign file names no code."""
    if card.cls not in METHODS:
        raise unknown("method class", card.cls, METHODS, where=where)
