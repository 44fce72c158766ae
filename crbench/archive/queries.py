"""Vectors of queries: those that a run has embedded, and those of other images by its model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.data.cache.reading import Cache
from crbench.embedding.file import StoredEmbeddings
from crbench.errors import UserError
from crbench.run.opened import OpenedRun, statistics

if TYPE_CHECKING:  # torch takes seconds to load, and a pair that is embedded needs none of it
    from crbench.embedding.embedder import Embedder


@dataclass
class Queries:
    """Queries to a finished run, of pairs of its cache and of images of one's own.

    ``name`` of an embedding is ``<modality>/<view>``, as ``a/uni``.
    """

    run: OpenedRun
    device: str = "auto"

    @cached_property
    def stored(self) -> StoredEmbeddings:
        """The run's file of embeddings."""
        return StoredEmbeddings(self.run.folder.embeddings)

    def of_pair(self, row: int, name: str) -> np.ndarray:
        """The embedding of the pair at cache ``row``, (D,) float32: the stored one where it is."""
        cache, modality = self.run.cache, name.partition("/")[0]
        query_id = str(cache.ids[row])
        vector = self.stored.vector(name, query_id)
        if vector is not None:
            return vector
        bands, pixels = cache.band_positions(modality), cache.images(modality)[row]
        return self._embed(pixels if bands is None else pixels[bands], name, query_id)

    def of_image(self, pixels: np.ndarray, name: str, title: str) -> np.ndarray:
        """The embedding (D,) float32 of an image (C, H, W) in the bands in use, in stored units.

        One of another shape is a UserError that names the bands; ``title`` says which image.
        """
        card = self.run.cache.card.modality(name[0])
        shape, wanted = np.shape(pixels), (len(card.used), *card.size)
        if shape != wanted:
            actual, needed = ("×".join(map(str, s)) for s in (shape, wanted))
            raise UserError(
                f"the image is {actual}, {card.name} is {needed}: {', '.join(card.used)}",
                where=title,
                fix="give these bands in this order, at this size",
            )
        return self._embed(pixels, name, title)

    @cached_property
    def _embedder(self) -> Embedder:
        from crbench.embedding.embedder import Embedder
        from crbench.run.devices import pick_device

        return Embedder.of_run(self.run.folder, self.run.info, pick_device(self.device))

    def _embed(self, pixels: np.ndarray, name: str, title: str) -> np.ndarray:
        from crbench.data.unlabelled import Normalised, UnlabelledImages

        embedder = self._embedder
        modality, _, view = name.partition("/")
        one = UnlabelledImages(np.array([title]), lambda at: np.asarray(pixels)[None])
        size = embedder.model.image_size
        image = Normalised(one, statistics(self.run.cache)[modality], size, embedder.device)
        return embedder.embed(image, "a" if modality == "a" else "b")[view][0]


def read_query_image(path: Path, cache: Cache, modalities: list[str]) -> tuple[np.ndarray, str]:
    """The image at ``path``, (C, H, W) in the bands in use of the first of ``modalities`` whose
    card it fits, and this modality.

    An image that fits none is a UserError that names what each sensor needs.
    """
    from crbench.data.query_image import read_query

    if not path.is_file():
        raise UserError("no such file", where=path, fix="check the path")
    problems: dict[str, UserError] = {}  # by sensor and its bands
    for modality in modalities:
        card = cache.card.modality(modality)
        try:
            return read_query(path, card), modality
        except UserError as error:
            problems[f"{card.name} ({', '.join(card.used)})"] = error
    sensor, first = next(iter(problems.items()))
    if len({error.what for error in problems.values()}) == 1:
        needed = f"; the query is {sensor}" if len(problems) == 1 else ""
        raise UserError(first.what, where=first.where, fix=f"{first.fix}{needed}")
    raise UserError(
        "this image fits no sensor of the run",
        where=path,
        fix="; ".join(f"as {name}: {error.what}" for name, error in problems.items()),
    )
