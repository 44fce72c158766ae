"""Where tiles lie: on the ground, in metres, and which of them come too close to another split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crbench.data.sources.raw import damage_named
from crbench.errors import UserError

Extent = tuple[str, tuple[float, float, float, float]]  # CRS; left, bottom, right, top in it

_A, _F = 6378137.0, 1 / 298.257223563  # WGS84: equatorial radius in metres, flattening
_FIX = "correct the corners, or the coordinate reference system"
_SLACK = 1.01  # distances of tiles that touch, in a projection whose scale changes along a scene


def geocentric(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Points on the WGS84 ellipsoid, degrees (N,) → geocentric x, y, z (N, 3) in metres."""
    lon, lat = np.radians(longitude), np.radians(latitude)
    e2 = _F * (2 - _F)
    n = _A / np.sqrt(1 - e2 * np.sin(lat) ** 2)
    x, y = n * np.cos(lat) * np.cos(lon), n * np.cos(lat) * np.sin(lon)
    return np.stack([x, y, n * (1 - e2) * np.sin(lat)], axis=-1)


def tile_ground(
    extent: Extent, corners: np.ndarray, where: object
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 3) of tiles in geocentric metres, and half their diagonal (N,) in metres.

    ``corners`` (N, 4): top, left, bottom, right of each tile as shares of the scene, 0 at its upper
    left corner. An extent that is no place on Earth is a UserError.
    """
    from rasterio.warp import transform

    crs, (left, bottom, right, top) = extent
    rows, columns = corners[:, [0, 2]], corners[:, [1, 3]]
    x, y = left + columns * (right - left), top - rows * (top - bottom)
    points = np.stack([[x.mean(1), y.mean(1)], [x[:, 0], y[:, 0]]])  # centre, upper left corner
    with damage_named("no coordinates on Earth", where, Exception, fix=_FIX):  # GDAL has many kinds
        lon, lat = transform(crs, "EPSG:4326", points[:, 0].ravel(), points[:, 1].ravel())
    places = geocentric(np.array(lon), np.array(lat)).reshape(2, len(corners), 3)
    if not (left < right and bottom < top and np.isfinite(places).all()):
        raise UserError(
            f"the extent {left}, {bottom}, {right}, {top} is no place on Earth",
            where=where,
            fix=_FIX,
        )
    return places[0], np.linalg.norm(places[1] - places[0], axis=1)


def too_close(
    centres: np.ndarray,
    reach: np.ndarray,
    split: Sequence[str],
    ranks: dict[str, int],
    margin: float,
) -> np.ndarray:
    """Which tiles (N,) come within ``margin`` metres of a tile whose split has a higher rank.

    A tile is taken as the circle around it, ``reach`` (N,) metres wide each way, so that those that
    touch at a corner are at distance 0. ``ranks``: of each split; those of equal rank do not mind
    one another.
    """
    from scipy.spatial import cKDTree

    rank = np.array([ranks[name] for name in split])
    dropped = np.zeros(len(split), dtype=bool)
    for level in sorted(set(rank.tolist()))[1:]:
        above = cKDTree(centres[rank >= level])
        below = np.flatnonzero((rank < level) & ~dropped)
        near, _ = above.query(centres[below])
        dropped[below] = near <= _SLACK * (reach[below] + reach[rank >= level].max()) + margin
    return dropped
