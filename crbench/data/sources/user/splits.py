"""Splits drawn from the ids by a rule and a seed: the same ids give the same splits, for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from crbench.cards import Strict, parse
from crbench.data.sources.raw import counted, split_by_hash
from crbench.errors import UserError
from crbench.seeds import derive


class _SplitRule(Strict):
    """``[source.split]``: how pairs are put into splits where the data do not say it.

    Either ``shares`` of the pairs, summing to 1, taken within each class where there is one; or
    ``counts``, drawn one after the other from what is left, with everything else in ``rest``.
    Splits in ``balanced`` take equally many pairs of every class. ``of`` is the number of pairs
    that the counts are meant for: of fewer pairs they take the same part.
    """

    seed: int = 0
    shares: dict[str, PositiveFloat] | None = None
    counts: dict[str, PositiveInt] | None = Field(default=None, min_length=1)
    rest: str = "train"
    balanced: list[str] = Field(default_factory=list)
    of: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> _SplitRule:
        if (self.shares is None) == (self.counts is None):
            raise ValueError("give shares or counts, one of them")
        if self.shares is not None and abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError("the shares do not sum to 1")
        if unnamed := [name for name in self.balanced if name not in (self.counts or {})]:
            raise ValueError(f"balanced names '{unnamed[0]}', which has no count")
        return self


def draw(
    table: Mapping[str, Any], ids: Sequence[str], labels: np.ndarray | None, where: str
) -> tuple[list[str], str]:
    """The split of each id by the rule in ``table``, and the rule's outcome in words.

    ``labels`` (N,) int64 for single-label sets; others are drawn without a look at labels. A rule
    that leaves a split without pairs is a UserError.
    """
    if not table:
        raise UserError(
            "neither the data nor the card say which pair is in which split",
            where=where,
            fix="give the card a rule: [source.split.shares] with train = 0.7, query = 0.3",
        )
    rule = parse(_SplitRule, dict(table), where=f"{where}, [source.split]")
    every = np.zeros(len(ids), dtype=np.int64)
    classes = every if labels is None or labels.ndim > 1 else labels
    by_class = {int(c): np.flatnonzero(classes == c).tolist() for c in np.unique(classes)}
    if rule.shares is not None:
        split_of: dict[str, str] = {}
        for rows in by_class.values():
            split_of.update(split_by_hash([ids[row] for row in rows], rule.shares, rule.seed))
        words = "shares within each class" if classes is not every else "shares of all pairs"
    else:
        split_of, words = _draw_counts(rule, ids, by_class, where)
    split = [split_of[name] for name in ids]
    names, counts = np.unique(split, return_counts=True)
    total = counted(dict(zip(names.tolist(), counts.tolist(), strict=True)))
    return split, f"split by hash of the id, seed {rule.seed}, {words}: {total}"


def _draw_counts(
    rule: _SplitRule, ids: Sequence[str], by_class: Mapping[int, list[int]], where: str
) -> tuple[dict[str, str], str]:
    part = min(1.0, len(ids) / rule.of) if rule.of else 1.0
    split_of: dict[str, str] = {}
    for name, count in (rule.counts or {}).items():
        groups = list(by_class.values()) if name in rule.balanced else [list(range(len(ids)))]
        each = round(part * count / len(groups))
        for rows in groups:
            left = [ids[row] for row in rows if ids[row] not in split_of]
            if not 0 < each < len(left):
                raise UserError(
                    f"split '{name}' would take {each} of {len(left)} pairs"
                    + (" of a class" if name in rule.balanced else ""),
                    where=f"{where}, source.split.counts",
                    fix="this set is too small for the rule: give counts that fit it",
                )
            left.sort(key=lambda item: (derive("split", rule.seed, name, item), item))
            split_of.update(dict.fromkeys(left[:each], name))
    words = f"{len(ids):,} pairs" if part == 1 else f"scaled to {len(ids):,} of {rule.of:,} pairs"
    return {item: split_of.get(item, rule.rest) for item in ids}, words
