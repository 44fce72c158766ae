"""Metres on the ground: known distances, projections that must not matter, margins of splits."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.warp import transform

from crbench.data.sources.scenes.ground import geocentric, tile_ground, too_close
from crbench.errors import UserError

WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]])


def test_points_of_the_ellipsoid() -> None:
    """The equator's radius, the pole's, and one degree of latitude and longitude at 45° N."""
    places = geocentric(np.array([0.0, 90.0, 10.0]), np.array([0.0, 0.0, 90.0]))
    np.testing.assert_allclose(
        places, [[6378137, 0, 0], [0, 6378137, 0], [0, 0, 6356752.314245]], atol=1e-3
    )
    here, north, east = geocentric(np.array([0, 0, 0.01]), np.array([45, 45.01, 45]))
    assert np.linalg.norm(north - here) == pytest.approx(1111.32, abs=0.1)
    assert np.linalg.norm(east - here) == pytest.approx(788.47, abs=0.1)


@pytest.mark.parametrize("crs", ["EPSG:3395", "EPSG:3857", "EPSG:32611", "EPSG:4326"])
def test_distances_do_not_depend_on_the_projection(crs: str) -> None:
    """Mercator's metres are 1.2 of those on the ground at 34° N."""
    lon, lat = [-118.0, -117.99], [34.0, 34.01]
    x, y = transform("EPSG:4326", crs, lon, lat)
    extent = crs, (x[0], y[0], x[1], y[1])
    (centre,), (reach,) = tile_ground(extent, WHOLE, "here")
    expected = geocentric(np.array([-117.995]), np.array([34.005]))[0]
    assert np.linalg.norm(centre - expected) < 2
    corners = geocentric(np.array(lon), np.array(lat))
    assert 2 * reach == pytest.approx(np.linalg.norm(corners[1] - corners[0]), rel=0.01)


def test_tiles_lie_from_the_upper_left_corner_on() -> None:
    extent = "EPSG:4326", (10.0, 0.0, 10.2, 0.1)
    corners = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])  # top, left, bottom, right
    centres, _ = tile_ground(extent, corners, "here")
    expected = geocentric(np.array([10.05, 10.15]), np.array([0.075, 0.025]))
    np.testing.assert_allclose(centres, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:4326", (10.0, 0.0, 9.0, 1.0)),
        ("EPSG:99999", (0.0, 0.0, 1.0, 1.0)),
        ("EPSG:3395", (0.0, 0.0, 1.0, float("inf"))),
    ],
)
def test_what_is_no_place_is_refused(crs: str, bounds: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"no (place|coordinates) on Earth") as caught:
        tile_ground((crs, bounds), WHOLE, "scene 7")  # type: ignore[arg-type]
    assert caught.value.where == "scene 7"


def test_tiles_that_touch_another_split_go_from_training_first() -> None:
    """A row of squares of 100 m: at distance 1 they touch, at distance 2 they do not."""
    centres = np.array([[100.0 * k, 0, 0] for k in range(8)])
    split = ["train", "train", "test", "val", "val", "val", "train", "val"]
    ranks = {"train": 0, "val": 1, "test": 2}
    reach = np.full(8, 50 * 2**0.5)
    dropped = too_close(centres, reach, split, ranks, 0.0)
    #                          touches test ↓              ↓ test             ↓ val
    assert dropped.tolist() == [False, True, False, True, False, False, True, False]
    wider = too_close(centres, reach, split, ranks, 100.0)
    assert wider.tolist() == [True, True, False, True, True, False, True, False]
    assert not too_close(centres, reach, ["train"] * 8, ranks, 1e9).any()
