"""Build ``ben-14k`` from archives of all its 14,832 names, with tiny images, and count.

The two archives are written as BigEarthNet v1 publishes them, in an order of no meaning, with
1,000 other patches between the members and every seventh Sentinel-2 name without the leading zero
of its hour. They go through the real command; only the card's size is 12 × 12 instead of 120 × 120.
Takes a few minutes and some 500 MB in the folder for temporary files; exit code 1 where a count or
a value is wrong.

    python scripts/check_ben14k_members.py
"""

from __future__ import annotations

import importlib.util
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numpy as np

from crbench.data.cache.reading import open_cache
from crbench.data.sources.bigearthnet.members import canonical, shipped

ROOT = Path(__file__).resolve().parents[1]
WANTED = {"train": 7761, "val": 3508, "test": 3563}
VARIANTS = 64  # different images per band; a patch takes one by its number
OTHERS = 1000


def writer() -> ModuleType:
    """The writer of raw data that the tests use."""
    path = ROOT / "tests" / "data" / "ben14k" / "data.py"
    spec = importlib.util.spec_from_file_location("ben14k_data", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def names() -> list[tuple[str, str]]:
    """Both names of every member, then of the others, spelled as they will lie in the archives."""
    known = shipped()
    pairs = [(name, known.s1[name]) for name in known.ids]
    pairs = [(s2.replace("T0", "T") if k % 7 == 0 else s2, s1) for k, (s2, s1) in enumerate(pairs)]
    for k in range(OTHERS):
        place = f"{k // 100}_{k % 100}"
        s1 = f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{place}"
        pairs.append((f"S2A_MSIL2A_20170613T101031_{place}", s1))
    return pairs


def write(folder: Path, data: ModuleType, pairs: list[tuple[str, str]]) -> list[dict]:  # type: ignore[type-arg]
    """Both archives; the pixels of each variant, by band."""
    variants = data.patches([("S2", "S1")] * VARIANTS)
    s2 = [data.s2_files(patch) for patch in variants]
    s1 = [data.s1_files(patch) for patch in variants]
    order = np.random.default_rng(0).permutation(len(pairs)).tolist()
    for root, which, files in (("BigEarthNet-v1.0", 0, s2), ("BigEarthNet-S1-v1.0", 1, s1)):
        with tarfile.open(folder / f"{root}.tar.gz", "w:gz", compresslevel=1) as archive:
            for number in order:
                patch, prefix = pairs[number][which], ("S2", "S1")[which]
                for name, content in files[number % VARIANTS].items():
                    if which == 1 and name.endswith(".json"):
                        table = json.loads(content)
                        table["corresponding_s2_patch"] = pairs[number][0]
                        content = json.dumps(table).encode()
                    place = f"{root}/{patch}/{patch}{name.removeprefix(prefix)}"
                    data.add_file(archive, place, content)
    return [patch.bands for patch in variants]


def main() -> int:
    """Write, build, count, compare; one line of JSON."""
    data, pairs = writer(), names()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary), Path(temporary) / "cache" / "ben-14k.h5"
        begun = time.monotonic()
        bands = write(folder, data, pairs)
        written = time.monotonic() - begun
        command = [sys.executable, "-m", "crbench", "cache", "build", "ben-14k"]
        command += ["--source", str(folder), "--out", str(out)]
        command += ["--set", "a.size=[12, 12]", "--set", "b.size=[12, 12]"]
        begun = time.monotonic()
        subprocess.run([*command, "--quiet"], check=True, cwd=ROOT)
        built = time.monotonic() - begun
        cache = open_cache(out)
        found = {name: len(cache.rows([name])) for name in WANTED}
        number = {canonical(s2): k for k, (s2, _) in enumerate(pairs)}
        wrong = 0
        for row, name in enumerate(cache.ids.tolist()):
            pixels = bands[number[name] % VARIANTS]
            same = [
                np.array_equal(cache.images(which)[row, channel], pixels[band])
                for which in ("a", "b")
                for channel, band in enumerate(cache.card.modality(which).bands)
                if data.SIDES[band] == 1
            ]
            wrong += not all(same)
        result = {
            "pairs": cache.n,
            "splits": found,
            "rows_with_other_pixels": wrong,
            "archives_mb": round(sum(p.stat().st_size for p in folder.glob("*.gz")) / 1e6, 1),
            "seconds_writing_archives": round(written, 1),
            "seconds_building": round(built, 1),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
            "left_beside_the_cache": sorted(p.name for p in out.parent.iterdir() if p != out),
        }
    print(json.dumps(result))
    return int(found != WANTED or cache.n != sum(WANTED.values()) or wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
