"""Pictures of the page: those of the cache and those that were sent look alike."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from crbench.archive.search import Search
from crbench.serve.thumbnails import Thumbnails


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_an_image_that_was_sent_is_drawn_as_the_same_one_of_the_cache(search: Search) -> None:
    thumbnails = Thumbnails(search.cache)
    for modality in ("a", "b"):
        sent = thumbnails.of_image(np.asarray(search.cache.images(modality)[7]), modality)
        assert sent is not None
        np.testing.assert_array_equal(pixels(sent), pixels(thumbnails.png(modality, 7)))
        assert pixels(sent).shape == (*search.cache.card.modality(modality).size, 3)
        assert pixels(sent).std() > 5


def test_without_a_band_that_is_shown_there_is_no_picture(search: Search) -> None:
    thumbnails = Thumbnails(search.cache)
    card = search.cache.card
    lacking = card.b.model_copy(update={"use": ["B11", "B12"]})
    thumbnails.cache = type(search.cache).__new__(type(search.cache))
    vars(thumbnails.cache).update(
        vars(search.cache) | {"card": card.model_copy(update={"b": lacking})}
    )
    assert thumbnails.of_image(np.ones((2, 32, 32), np.uint16), "b") is None


def test_a_picture_is_named_by_cache_sensor_and_row(search: Search) -> None:
    thumbnails = Thumbnails(search.cache)
    tags = {thumbnails.etag(modality, row) for modality in ("a", "b") for row in (1, 2)}
    assert len(tags) == 4 and all(search.cache.digest[:16] in tag for tag in tags)
