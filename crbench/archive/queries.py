"""Vectors of queries: those that a run has embedded, and those of other images by its model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from crbench.data.cache.reading import Cache, decode
from crbench.embedding.vector_files import BROKEN, damaged
from crbench.errors import UserError
from crbench.run.folder import RunFolder, RunInfo
from crbench.run.opened import statistics

if TYPE_CHECKING:  # torch takes seconds to load, and a pair that is embedded needs none of it
    import torch

    from crbench.models.base import Method


@dataclass
class Queries:
    """Queries to a finished run, of pairs of its ``cache`` and of images of one's own.

    ``name`` of an embedding is ``<modality>/<view>``, as ``a/uni``.
    """

    run: RunFolder
    info: RunInfo
    cache: Cache
    device: str = "auto"

    def of_pair(self, row: int, name: str) -> np.ndarray:
        """The embedding of the pair at cache ``row``, (D,) float32: the stored one where it is."""
        query_id = str(self.cache.ids[row])
        try:
            if query_id in self._stored_rows:
                with h5py.File(self.run.embeddings, "r") as file:
                    return np.asarray(file[name][self._stored_rows[query_id]])
        except BROKEN as error:
            raise damaged(f"{self.run.embeddings}, {name}", error) from error
        modality = name.partition("/")[0]
        bands, pixels = self.cache.band_positions(modality), self.cache.images(modality)[row]
        return self._embed(pixels if bands is None else pixels[bands], name, query_id)

    def of_image(self, pixels: np.ndarray, name: str, title: str) -> np.ndarray:
        """The embedding (D,) float32 of an image (C, H, W) in the bands in use, in stored units.

        One of another shape is a UserError that names the bands; ``title`` says which image.
        """
        card = self.cache.card.modality(name[0])
        shape, wanted = np.shape(pixels), (len(card.used), *card.size)
        if shape != wanted:
            given, needed = ("×".join(map(str, s)) for s in (shape, wanted))
            raise UserError(
                f"the image is {given}, {card.name} is {needed}: {', '.join(card.used)}",
                where=title,
                fix="give these bands in this order, at this size",
            )
        return self._embed(pixels, name, title)

    @cached_property
    def _stored_rows(self) -> dict[str, int]:
        """Row of each id in the embeddings."""
        with h5py.File(self.run.embeddings, "r") as file:
            return {name: row for row, name in enumerate(decode(file["ids"][:]).tolist())}

    @cached_property
    def _model(self) -> tuple[Method, torch.device]:
        import torch

        from crbench.embedding.embed import load_run
        from crbench.run.devices import full_precision, pick_device

        torch.set_num_threads(self.info.threads)
        full_precision()
        chosen = pick_device(self.device)
        return load_run(self.run, chosen), chosen

    def _embed(self, pixels: np.ndarray, name: str, title: str) -> np.ndarray:
        from crbench.data.unlabelled import Images, Normalised
        from crbench.embedding.embedder import embed_pairs

        model, device = self._model
        modality, _, view = name.partition("/")
        one = Images(np.array([title]), lambda at: np.asarray(pixels)[None])
        image = Normalised(one, statistics(self.cache)[modality], model.image_size, device)
        return embed_pairs(model, image, "a" if modality == "a" else "b", 1, "", True)[view][0]


def read_image(path: Path, cache: Cache, modalities: list[str]) -> tuple[np.ndarray, str]:
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
