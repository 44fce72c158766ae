"""Where a card's ``class`` leads: one line per method, imported when it is built."""

from __future__ import annotations

from collections.abc import Mapping

from crbench.cards import MethodCard
from crbench.errors import UserError, unknown
from crbench.models.base import Method
from crbench.plugins import import_named, registered

_BUILT_IN = {
    "cr-jepa": "crbench.models.cr_jepa:CRJEPA",
    "x-jepa": "crbench.models.x_jepa:XJEPA",
    "rejepa": "crbench.models.rejepa:REJEPA",
    "band-stats": "crbench.models.baselines:BandStats",
    "cca": "crbench.models.baselines:CCA",
    "ridge-cca": "crbench.models.canonical:RidgeCCA",
}
_GROUP = "crbench.methods"  # entry points of other packages


def method_class(card: MethodCard) -> type[Method]:
    """The class that a card names: by registered key, or as ``package.module:Class``."""
    where = f"method card '{card.name}'"
    named = import_named(card.cls, _GROUP, _BUILT_IN, kind="method class", where=where)
    if not (isinstance(named, type) and issubclass(named, Method)):
        raise UserError(f"'{card.cls}' is no Method", where=where)
    return named


def build_method(card: MethodCard, bands: Mapping[str, int]) -> Method:
    """The method of a card for the given number of bands per modality."""
    return method_class(card)(card, bands)


def is_registered(cls: str) -> bool:
    """Is ``cls`` a key of this package or of an installed one, safe in a stranger's file."""
    return cls in registered(_GROUP, _BUILT_IN)


def check_class(card: MethodCard, where: object) -> None:
    """Refuse a card whose class is not registered: a foreign file names no code."""
    if not is_registered(card.cls):
        raise unknown("method class", card.cls, registered(_GROUP, _BUILT_IN), where=where)
