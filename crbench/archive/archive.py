"""The archive of a run: what lies in it, and the items nearest to one query, as ``evaluate`` ranks.

A query is a pair of the cache by its id, or an image of one's own. The gallery is the one of the
protocol; what the protocol leaves out of a query's ranking is left out here. The vector of a pair
that the run's embeddings hold is theirs. Every other image is embedded alone, which in float32
can differ in the last digits from what it would be in a batch of others.
"""

from __future__ import annotations

import difflib
import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from crbench.archive.index import stored
from crbench.archive.queries import Queries, read_query_image
from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.data.pair_labels import label_names, relevant
from crbench.embedding.file import read_embeddings
from crbench.errors import UserError, unknown
from crbench.files import sha256_json
from crbench.records import Record
from crbench.scoring.search import Gallery, scale_rows
from crbench.words import DIRECTIONS, SAME_MODAL

_FORMAT = 1
_PREFERRED = ("ab", "ba", "aa", "bb")  # the direction where none is asked for: the first there is
_NEAR_IDS = 2000  # ids whose spelling an unknown one is compared with


@dataclass(frozen=True)
class Hit:
    """An item that was found: ``rank`` from 1, cosine ``score``, ``row`` of the cache, names of its
    ``labels``, and whether it is relevant to the query (None where that is not known)."""

    rank: int
    id: str
    score: float
    row: int
    labels: list[str]
    right: bool | None


@dataclass(frozen=True)
class Answer:
    """The nearest items of a query, best first.

    ``query`` is an id or a file's name; ``query_row`` the cache row of a pair, None for an image of
    one's own. ``ranked`` counts the items that were ranked, ``seconds`` is the time of that, and
    ``embed_seconds`` the time before it to come to the query's vector. ``pixels`` (C, H, W) is the
    image of one's own, in the bands in use.
    """

    direction: str
    query: str
    items: list[Hit]
    query_row: int | None
    query_labels: list[str]
    ranked: int
    seconds: float
    embed_seconds: float
    pixels: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass
class Search:
    """A run whose archive can be searched. ``serves``: direction → names of the embeddings of its
    queries and of its gallery, as ``a/uni``. ``record`` is the one whose protocol is followed, None
    for a run that was not evaluated. May be asked by several threads."""

    queries: Queries
    protocol: ProtocolCard
    protocol_name: str
    serves: dict[str, tuple[str, str]]
    record: Record | None = None
    digest: str = ""  # of the embeddings
    _galleries: dict[str, Gallery] = field(default_factory=dict, repr=False)

    @property
    def cache(self) -> Cache:
        """The cache that the run was trained on."""
        return self.queries.run.cache

    @property
    def title(self) -> str:
        """Method, dataset and seed."""
        info = self.queries.run.info
        return f"{info.method_card.title} on {info.dataset_card.title}, seed {info.seed}"

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that the method serves, in their usual order."""
        return tuple(d for d in DIRECTIONS if d in self.serves)

    @property
    def default_direction(self) -> str:
        """Across the sensors where the method does that, a query of ``a`` first."""
        return next(d for d in _PREFERRED if d in self.serves)

    @cached_property
    def rows(self) -> np.ndarray:
        """Cache rows of the gallery, ascending, (N,) int64."""
        return self.cache.rows(self.protocol.gallery)

    def by_id(self, query_id: str, direction: str | None = None, top: int = 20) -> Answer:
        """The ``top`` items nearest to a pair of the cache, of whatever split."""
        direction = self._checked(direction or self.default_direction)
        if query_id not in self.row_of:
            raise self._no_such_id(query_id)
        row, started = self.row_of[query_id], time.perf_counter()
        vector = self.queries.of_pair(row, self.serves[direction][0])
        took = time.perf_counter() - started
        return self.answer(vector, direction, top, query_id, row=row, embed_seconds=took)

    def by_image(
        self,
        pixels: np.ndarray,
        direction: str | None = None,
        top: int = 20,
        *,
        name: str = "image",
    ) -> Answer:
        """The ``top`` items nearest to an image (C, H, W) of one's own: of the sensor that comes
        first in ``direction``, in the bands in use, at the card's size and in its units."""
        direction = self._checked(direction or self.default_direction)
        started = time.perf_counter()
        vector = self.queries.of_image(pixels, self.serves[direction][0], name)
        took = time.perf_counter() - started
        answer = self.answer(vector, direction, top, name, embed_seconds=took)
        return replace(answer, pixels=np.asarray(pixels))

    def by_file(self, path: Path, direction: str | None = None, top: int = 20) -> Answer:
        """As :meth:`by_image`, of a GeoTIFF, PNG, JPEG, ``.npy`` or ``.npz``.

        Without ``direction`` the sensor is the first one whose card the image fits.
        """
        wanted = [d for d in _PREFERRED if d in self.serves]
        if direction is not None:
            wanted = [self._checked(direction)]
        sensors = list(dict.fromkeys(d[0] for d in wanted))
        pixels, modality = read_query_image(path, self.cache, sensors)
        direction = next(d for d in wanted if d[0] == modality)
        return self.by_image(pixels, direction, top, name=path.name)

    def answer(
        self,
        vector: np.ndarray,
        direction: str,
        top: int,
        name: str,
        *,
        row: int | None = None,
        embed_seconds: float = 0.0,
    ) -> Answer:
        """The ``top`` items nearest to a ``vector`` (D,), which is the embedding of the pair at
        cache ``row``, or of another image."""
        gallery = self.gallery(self.serves[direction][1])
        started = time.perf_counter()
        left_out = self._left_out(row, direction)
        rows, scores = gallery.nearest(vector, top, left_out)
        rows = self.rows[rows]
        right = self._right(row, rows, left_out)
        hits = [
            Hit(n + 1, str(self.cache.ids[at]), float(scores[n]), at, label_names(self.cache, at),
                None if right is None else bool(right[n]))
            for n, at in enumerate(rows.tolist())
        ]  # fmt: skip
        seconds = time.perf_counter() - started
        labels = [] if row is None else label_names(self.cache, row)
        ranked = len(self.rows) - len(left_out)
        return Answer(direction, name, hits, row, labels, ranked, seconds, embed_seconds)

    def gallery(self, name: str) -> Gallery:
        """The gallery of the embeddings ``name`` (``b/uni``): from the run's stored index, which is
        made where it is not there yet."""
        if name not in self._galleries:
            ids = self.cache.ids[self.rows]
            file = f"{name}-{self.protocol_name}.npy".replace("/", "-")
            key = [_FORMAT, self.digest, self.cache.digest, self.protocol.gallery, name]

            def make() -> np.ndarray:
                file = self.queries.run.folder.embeddings
                return scale_rows(read_embeddings(file, self.cache.ids).of(name, ids))

            vectors = stored(self.queries.run.folder.index / file, sha256_json(key), make)
            self._galleries[name] = Gallery(ids, vectors)
        return self._galleries[name]

    def _checked(self, direction: str) -> str:
        if direction not in self.serves:
            raise unknown("direction", direction, self.directions, where=self.title)
        return direction

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Cache row of each id."""
        return {name: row for row, name in enumerate(self.cache.ids.tolist())}

    def _no_such_id(self, query_id: str) -> UserError:
        """Names the ids that are spelt most like it, among those beside it in their order."""
        ids = np.sort(self.cache.ids)
        at = int(np.searchsorted(ids, query_id))
        beside = ids[max(0, at - _NEAR_IDS // 2) : at + _NEAR_IDS // 2].tolist()
        near = difflib.get_close_matches(query_id, beside, n=20)
        near.sort(key=lambda name: -len(os.path.commonprefix([name, query_id])))  # noqa: RUF071
        fix = f"its ids look like {ids[0]}; an image is given by its path"
        if near:
            fix = f"did you mean {' or '.join(near[:3])}?"
        return UserError(f"no pair named '{query_id}'", where=self.cache.path, fix=fix)

    @cached_property
    def _place_numbers(self) -> np.ndarray | None:
        """A number per place of each pair of the cache, where the protocol leaves places out."""
        if self.protocol.exclude != "place" or self.cache.places is None:
            return None
        return np.unique(self.cache.places, return_inverse=True)[1]

    def _left_out(self, row: int | None, direction: str) -> np.ndarray:
        """Positions in the gallery that are not ranked for the query at ``row``."""
        if row is None:
            return np.empty(0, np.int64)
        if self._place_numbers is not None:
            return np.flatnonzero(self._place_numbers[self.rows] == self._place_numbers[row])
        own = direction in SAME_MODAL or self.protocol.exclude == "pair"
        return np.flatnonzero(self.rows == row) if own else np.empty(0, int)

    def _right(self, row: int | None, items: np.ndarray, left_out: np.ndarray) -> np.ndarray | None:
        """Which items are relevant, (n,) bool; None where nothing says so."""
        if row is None:
            return None
        if self.cache.card.labels.kind == "none" and row not in np.delete(self.rows, left_out):
            return None  # the pair is all that could be right, and it is not ranked
        return relevant(self.cache, row, items)
