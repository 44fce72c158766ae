"""Which band is which in stacked patches without names, by content.

Public code disagrees on VV and VH, and on where the 20 m bands stand. Radar: VH lies some 6 dB
below VV. Optical, over vegetation: green above blue and red, the red edge rises to the near
infrared, and both short-wave bands lie below, the second far below. The shape is that of 41
vegetated patches of BigEarthNet; two bands whose means differ by less than 7 % in it are not told
apart.
"""

from __future__ import annotations

import itertools

import numpy as np

from crbench.errors import UserError

STACKED = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
# mean reflectance × 10,000 over vegetation (B08 above 2.5 × B04)
_SHAPE = dict(zip(STACKED, (366, 637, 495, 1018, 2534, 3034, 3157, 3265, 1778, 1004), strict=True))
_APART = 0.93  # of the larger of two means: nearer ones are not told apart
_GREEN = 2.5
_LEAST = 5  # vegetated patches that a look at the bands needs
_BETWEEN = (2.0, 12.0)  # dB that VH may lie below VV


def radar_order(means: np.ndarray, where: object) -> tuple[int, int]:
    """Positions of VV and VH from means (N, 2) in dB of N patches."""
    first, second = np.median(means, axis=0)
    gap = float(np.median(means[:, 0] - means[:, 1]))
    if _BETWEEN[0] <= abs(gap) <= _BETWEEN[1]:
        return (0, 1) if gap > 0 else (1, 0)
    raise UserError(
        f"neither radar band looks like VH, which lies some 6 dB below VV: medians {first:.1f} and "
        f"{second:.1f} dB",
        where=where,
        fix="take the archive as it is passed around: backscatter in dB",
    )


def check_optical(means: np.ndarray, where: object) -> None:
    """Refuse patches whose bands do not stand in the order of ``STACKED``; means (N, 10) in
    reflectance × 10,000 of N patches."""
    at = {name: k for k, name in enumerate(STACKED)}
    green = means[:, at["B08"]] > _GREEN * means[:, at["B04"]]
    shown = means[green] if green.sum() >= _LEAST else means
    found = dict(zip(STACKED, shown.mean(axis=0), strict=True))
    wrong = [
        f"{low} below {high}"
        for low, high in itertools.permutations(STACKED, 2)
        if _SHAPE[low] < _APART * _SHAPE[high] and found[low] >= found[high]
    ]
    if green.sum() >= _LEAST and not wrong:
        return
    figures = ", ".join(f"{name} {value:,.0f}" for name, value in found.items())
    why = f"expected {', '.join(wrong[:4])}" if wrong else "no vegetation in this order"
    raise UserError(
        f"the ten bands do not stand in the order {' '.join(STACKED)}: read so, their means over "
        f"{'vegetation' if green.sum() >= _LEAST else 'all patches'} are {figures} ({why})",
        where=where,
        fix="take the archive as it is passed around, with the bands in this order",
    )
