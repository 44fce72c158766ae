"""Write tiny sets of raw data in the exact forms in which BigEarthNet circulates.

As a script it writes one of each, to look at:
``python tests/data/sources/bigearthnet/data.py FOLDER``.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

SIDES = {  # of a band, as a share of a patch's side
    **dict.fromkeys(("VV", "VH", "B02", "B03", "B04", "B08"), 1),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 2),
    **dict.fromkeys(("B01", "B09"), 6),
}
LABELS = (  # as the 43 names have them; the last but one belongs to no class
    ("Non-irrigated arable land", "Pastures"),
    ("Coniferous forest", "Water bodies", "Burnt areas"),
    ("Discontinuous urban fabric", "Continuous urban fabric"),
    ("Transitional woodland/shrub", "Beaches, dunes, sands"),
)
CLASSES = (  # the same, as the 19 classes have them
    ("Arable land", "Pastures"),
    ("Coniferous forest", "Inland waters"),
    ("Urban fabric",),
    ("Transitional woodland, shrub", "Beaches, dunes, sands"),
)


@dataclass(frozen=True)
class Patch:
    """A pair with its pixels by band at native size; ``kind`` is a row of ``LABELS``."""

    s2: str
    s1: str
    kind: int
    bands: dict[str, np.ndarray]

    @property
    def v2(self) -> str:
        """The name of the same patch in v2."""
        head, tile = self.s2.rsplit("_", 2), self.s1.split("_")[5]
        return f"{head[0]}_N9999_R036_T{tile}_{head[1]}_{head[2]}"


def patches(names: Sequence[tuple[str, str]], side: int = 12) -> list[Patch]:
    """A patch for each pair of names, with random pixels over the whole range of its sensors."""
    made = []
    for number, (s2, s1) in enumerate(names):
        rng = np.random.default_rng(number)
        bands: dict[str, np.ndarray] = {}
        for band, share in SIDES.items():
            shape = (side // share, side // share)
            if band.startswith("V"):
                bands[band] = rng.normal(-15, 6, shape).astype(np.float32)
            else:
                bands[band] = rng.integers(0, 2**16, shape, dtype=np.uint16)
        made.append(Patch(s2, s1, number % len(LABELS), bands))
    return made


def geotiff(pixels: np.ndarray) -> bytes:
    """One layer as the bytes of a GeoTIFF, uncompressed as in BigEarthNet v1."""
    return _geotiff(pixels.tobytes(), pixels.shape, pixels.dtype.name)


@functools.cache
def _geotiff(raw: bytes, shape: tuple[int, int], dtype: str) -> bytes:
    height, width = shape
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=height, width=width, count=1, dtype=dtype,
            crs="EPSG:32634", transform=Affine(1200 / width, 0, 300000, 0, -1200 / height, 5000000),
        ) as file:  # fmt: skip
            file.write(np.frombuffer(raw, dtype).reshape(shape), 1)
        return bytes(memory.read())


def s2_files(patch: Patch) -> dict[str, bytes]:
    """The files of a Sentinel-2 patch of v1, by name."""
    meta = {
        "labels": LABELS[patch.kind],
        "coordinates": {"ulx": 300000, "uly": 5000000, "lrx": 301200, "lry": 4998800},
        "projection": "PROJCS[]",
        "tile_source": "S2A_MSIL1C_20170803T094031_N0205_R036_T34TCR_20170803T094026.SAFE",
        "acquisition_date": "2017-08-03 09:40:31",
    }
    files = {f"{patch.s2}_labels_metadata.json": json.dumps(meta).encode()}
    for band, pixels in patch.bands.items():
        if band.startswith("B"):
            files[f"{patch.s2}_{band}.tif"] = geotiff(pixels)
    return files


def s1_files(patch: Patch) -> dict[str, bytes]:
    """The files of a Sentinel-1 patch of v1, by name."""
    meta = {
        "labels": LABELS[patch.kind],
        "coordinates": {"ulx": 300000, "uly": 5000000, "lrx": 301200, "lly": 4998800},
        "projection": "PROJCS[]",
        "corresponding_s2_patch": patch.s2,
        "scene_source": "S1A_IW_GRDH_1SDV_20170802T163350_20170802T163415_017754_01DBF6_1C4B",
        "acquisition_time": "2017-08-02T16:33:50",
    }
    files = {f"{patch.s1}_labels_metadata.json": json.dumps(meta).encode()}
    for band in ("VV", "VH"):
        files[f"{patch.s1}_{band}.tif"] = geotiff(patch.bands[band])
    return files


def _put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_v1(folder: Path, made: Iterable[Patch]) -> Path:
    """``BigEarthNet-v1.0/<S2>/…`` and ``BigEarthNet-S1-v1.0/<S1>/…``."""
    for patch in made:
        _put(folder / "BigEarthNet-v1.0" / patch.s2, s2_files(patch))
        _put(folder / "BigEarthNet-S1-v1.0" / patch.s1, s1_files(patch))
    return folder


def write_archives(folder: Path, made: Sequence[Patch], seed: int = 0) -> Path:
    """``BigEarthNet-v1.0.tar.gz`` and ``BigEarthNet-S1-v1.0.tar.gz``, patches in any order."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(made))
    for root, which in (("BigEarthNet-v1.0", "s2"), ("BigEarthNet-S1-v1.0", "s1")):
        with tarfile.open(folder / f"{root}.tar.gz", "w:gz", compresslevel=1) as archive:
            add_folder(archive, root)
            for number in order:
                patch = made[number]
                name = getattr(patch, which)
                files = s2_files(patch) if which == "s2" else s1_files(patch)
                add_folder(archive, f"{root}/{name}")
                for file, content in files.items():
                    add_file(archive, f"{root}/{name}/{file}", content)
    return folder


def add_folder(archive: tarfile.TarFile, name: str) -> None:
    """Add an entry of a folder."""
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(member)


def add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file with this content."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_v2(folder: Path, made: Sequence[Patch]) -> Path:
    """``BigEarthNet-S2/<scene>/<patch>/…``, ``BigEarthNet-S1/…`` and ``metadata.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for patch in made:
        scene = patch.v2.rsplit("_", 2)[0]
        files = {
            name.replace(patch.s2, patch.v2): content
            for name, content in s2_files(patch).items()
            if name.endswith(".tif")
        }
        _put(folder / "BigEarthNet-S2" / scene / patch.v2, files)
        files = {n: content for n, content in s1_files(patch).items() if n.endswith(".tif")}
        _put(folder / "BigEarthNet-S1" / patch.s1.rsplit("_", 3)[0] / patch.s1, files)
    columns = {
        "patch_id": [patch.v2 for patch in made],
        "labels": [list(CLASSES[patch.kind]) for patch in made],
        "split": ["train"] * len(made),
        "country": ["Serbia"] * len(made),
        "s1_name": [patch.s1 for patch in made],
        "s2v1_name": [patch.s2 for patch in made],
        "contains_seasonal_snow": [False] * len(made),
        "contains_cloud_or_shadow": [False] * len(made),
    }
    pq.write_table(pa.table(columns), folder / "metadata.parquet")
    return folder


def write_packaged(folder: Path, made: Sequence[Patch]) -> Path:
    """``benv1_14k/{s1,s2}/<patch>/…`` and the table of labels beside them."""
    root = folder / "benv1_14k"
    for patch in made:
        for sensor, name, files in (
            ("s2", patch.s2, s2_files(patch)),
            ("s1", patch.s1, s1_files(patch)),
        ):
            tiffs = {n: content for n, content in files.items() if n.endswith(".tif")}
            _put(root / sensor / name, tiffs)
    with open(root / "benv1_14k_dataset_master_labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["S1_ID", "S2_ID", "S1_Labels", "S2_Labels"])
        for patch in made:
            labels = "|".join(LABELS[patch.kind])
            table.writerow([patch.s1, patch.s2, labels, labels])
    return folder


WRITERS = {
    "folders": write_v1,
    "archives": write_archives,
    "v2": write_v2,
    "packaged": write_packaged,
}

if __name__ == "__main__":
    some = patches(
        [("S2A_MSIL2A_20170803T94031_26_19", "S1A_IW_GRDH_1SDV_20170802T163350_34TCR_26_19")], 120
    )
    for name, write in WRITERS.items():
        print(write(Path(sys.argv[1]) / name, some))
