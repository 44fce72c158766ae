"""Floor 1: exact, tie-safe retrieval scores from arrays (numpy only)."""

from crbench.scoring.engine import Engine
from crbench.scoring.health import THRESHOLDS, health
from crbench.scoring.intervals import compare
from crbench.scoring.metrics import PerQuery, metric_names
from crbench.scoring.protocol import Items
from crbench.scoring.score import per_query, score_directions, top_k
from crbench.words import DEFINITIONS, DIRECTIONS, KS, LABEL_KINDS, SAME_MODAL

__all__ = [
    "DEFINITIONS",
    "DIRECTIONS",
    "KS",
    "LABEL_KINDS",
    "SAME_MODAL",
    "THRESHOLDS",
    "Engine",
    "Items",
    "PerQuery",
    "compare",
    "health",
    "metric_names",
    "per_query",
    "score_directions",
    "top_k",
]
