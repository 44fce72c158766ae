"""What every metric is called and what it means, in the words that stand under the tables."""

from __future__ import annotations

from collections.abc import Mapping

from crbench.scoring.protocol import DEFINITIONS, DIRECTIONS

__all__ = ["DIRECTIONS", "arrow", "definition", "family", "title"]

TITLES = {
    "map": "mAP",
    "p": "P@{k}",
    "f1_item": "F1@{k} (item)",
    "f1_query": "F1@{k} (query)",
    "f1_dataset": "F1@{k} (dataset)",
    "f1": "F1@{k} (definition not stated)",
    "label_p": "label precision@{k}",
    "label_r": "label recall@{k}",
    "pair_r": "pair recall@{k}",
}

RELEVANT = {
    "multi": "an item is relevant when it shares at least one label with the query",
    "single": "an item is relevant when it has the query's class",
    "none": "the query's own pair is the only relevant item",
}


def _parts(metric: str) -> tuple[str, str]:
    stem, _, k = metric.partition("@")
    return stem, k


def title(metric: str) -> str:
    """A metric's name for people, e.g. ``"f1_item@5"`` → ``"F1@5 (item)"``."""
    stem, k = _parts(metric)
    return TITLES.get(stem, metric).format(k=k)


def family(metric: str) -> str:
    """The heading under which others print a metric, e.g. ``"f1_item@5"`` → ``"F1@5"``."""
    stem, k = _parts(metric)
    return f"F1@{k}" if stem.startswith("f1") else title(metric)


def definition(metric: str, label_kind: str) -> str:
    """One sentence on what a metric counts, for labels of kind multi, single or none."""
    stem, k = _parts(metric)
    text = DEFINITIONS[f"{stem}@k" if k else stem].replace("top k", f"top {k}")
    return f"{text}; {RELEVANT[label_kind]}" if stem == "p" else text


def arrow(direction: str, sensors: Mapping[str, str]) -> str:
    """A direction with sensor names, e.g. ``"ab"`` → ``"S1→S2"``."""
    return f"{sensors[direction[0]]}→{sensors[direction[1]]}"
