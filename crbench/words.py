"""The vocabulary that every stage shares: directions, modalities, roles, metrics and their meaning.

Directions name the query's modality first: ``ab`` asks with an image of ``a`` in a gallery of
``b``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Modality = Literal["a", "b"]
Role = Literal["query", "gallery"]
MODALITIES: tuple[Modality, Modality] = ("a", "b")
ROLES: tuple[Role, Role] = ("query", "gallery")
DIRECTIONS = ("aa", "bb", "ab", "ba")  # query modality first
SAME_MODAL = ("aa", "bb")
LABEL_KINDS = ("multi", "single", "none", "place")
KS = (1, 5, 10, 20, 50, 100)
PAIR_KS = (1, 5, 10)

DEFINITIONS = {
    "similarity": "cosine, in float32",
    "ties": "expectation over a uniformly random order inside each group of equal scores",
    "map": "mean over queries of average precision over the full gallery; relevant = same class "
    "(single label) or at least one shared label (multi-label); queries without a relevant item "
    "are left out and counted",
    "p@k": "share of relevant items in the top k",
    "label_p@k": "|Q and R| / |R| of the retrieved items' labels, mean over the top k",
    "label_r@k": "|Q and R| / |Q|, mean over the top k",
    "f1_item@k": "F1 of each (query, item), mean over the top k, then over queries",
    "f1_query@k": "harmonic mean of a query's label_p@k and label_r@k, mean over queries",
    "f1_dataset@k": "harmonic mean of label_p@k and label_r@k averaged over everything",
    "mrr": "1 / rank of the first relevant item, mean over queries",
    "r_precision": "share of relevant items among the first R, R being their number",
    "map_r": "sum of the precisions at the relevant items among the first R, over R (Musgrave et "
    "al. 2020)",
    "ndcg@k": "gain of the top k, discounted by log2(1 + rank), over that of the best order; gain "
    "1 of a relevant item, 2^|Q and R| - 1 of label sets",
    "pair_r@k": "the query's own pair is in the top k; null where queries and gallery are disjoint",
    "interval": "95 % bootstrap over queries, or over their places (scenes), then by Student's t",
    "chance": "the value when every score is tied",
}

_TITLES = {
    "map": "mAP",
    "p": "P@{k}",
    "f1_item": "F1@{k} (item)",
    "f1_query": "F1@{k} (query)",
    "f1_dataset": "F1@{k} (dataset)",
    "f1": "F1@{k} (definition not stated)",
    "label_p": "label precision@{k}",
    "label_r": "label recall@{k}",
    "mrr": "MRR",
    "r_precision": "R-precision",
    "map_r": "MAP@R",
    "ndcg": "nDCG@{k}",
    "pair_r": "pair recall@{k}",
}

_RELEVANT = {
    "multi": "an item is relevant when it shares at least one label with the query",
    "single": "an item is relevant when it has the query's class",
    "none": "the query's own pair is the only relevant item",
    "place": "an item is relevant when its centre lies within the card's radius of the query's, in "
    "metres on the ground",
}


def title(metric: str) -> str:
    """A metric's name for people, e.g. ``"f1_item@5"`` → ``"F1@5 (item)"``."""
    stem, _, k = metric.partition("@")
    return _TITLES.get(stem, metric).format(k=k)


def family(metric: str) -> str:
    """The heading under which others print a metric, e.g. ``"f1_item@5"`` → ``"F1@5"``."""
    stem, _, k = metric.partition("@")
    return f"F1@{k}" if stem.startswith("f1") else title(metric)


def definition(metric: str, label_kind: str) -> str:
    """One sentence on what a metric counts, for labels of kind multi, single or none."""
    stem, _, k = metric.partition("@")
    text = DEFINITIONS[f"{stem}@k" if k else stem].replace("top k", f"top {k}")
    return f"{text}; {_RELEVANT[label_kind]}" if stem == "p" else text


def arrow(direction: str, sensors: Mapping[str, str]) -> str:
    """A direction with sensor names, e.g. ``"ab"`` → ``"S1→S2"``."""
    return f"{sensors[direction[0]]}→{sensors[direction[1]]}"
