"""crbench cache: what it says of a cache, and of one that is damaged or not finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread
from typer.testing import Result

from crbench.data.cache.reading import cache_info

Crbench = Callable[..., Result]
Refused = Callable[..., None]


def test_an_unfinished_cache(
    crbench: Crbench, refused: Refused, twin_cache: Path, tmp_path: Path
) -> None:
    part = tmp_path / "caches" / "ben-14k-twin.h5.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    refused(crbench("train", "cr-jepa", "ben-14k-twin"), "not finished", "cache build ben-14k-twin")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(twin_cache.read_bytes()[:20_000])
    refused(crbench("cache", "info", cut), "damaged or no cache", str(cut))


def test_a_damaged_cache_is_named(
    crbench: Crbench, refused: Refused, twin_cache: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.h5"
    shutil.copy(twin_cache, copy)
    assert "sound" in crbench("cache", "verify", copy, "--quiet").output
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    refused(crbench("cache", "verify", copy, "--quiet"), "problem", str(copy), "--force")


def test_what_a_cache_holds(crbench: Crbench, twin_cache: Path) -> None:
    """Every fact of ``cache_info``, in the line that it belongs to."""
    facts = cache_info(twin_cache)
    assert json.loads(crbench("cache", "info", twin_cache, "--json").output) == facts
    lines = crbench("cache", "info", twin_cache).output.splitlines()
    assert lines[0] == f"{facts['title']} (ben-14k-twin, scale default, synthetic)"
    assert lines[1].startswith(f"file      {twin_cache}, ") and lines[1].endswith(" MB")
    assert lines[2] == "pairs     160: test 40, train 96, val 24"
    assert lines[3] == f"digest    {facts['digest']}"
    b = facts["modalities"]["b"]
    at = lines.index("b         S2, 32×32 px, uint16, reflectance × 10,000") + 1
    for band, line in zip(b["bands"], lines[at : at + 12], strict=True):
        place = b["bands"].index(band)
        mean, std, low, high = (b[key][place] for key in ("mean", "std", "min", "max"))
        assert line.startswith(
            f"          {band:<6} {mean:,.2f} ± {std:,.2f}, {low:,.2f} to {high:,.2f}"
        )
        assert f"   published {b['published_mean'][place]:,.2f} ± " in line
    assert lines[at + 12] == "labels    multi"
    counts = {line[19:]: int(line[:17].replace(",", "")) for line in lines[at + 13 :]}
    assert counts == facts["classes"]


def test_what_an_older_cache_lacks_is_left_out(
    crbench: Crbench, twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = cache_info(twin_cache)
    facts |= {"synthetic": False, "note": "", "missing": 1234, "notes": ["a <note> & more"]}
    del facts["classes"]
    a, b = facts["modalities"].values()
    a["min"] = a["max"] = a["invalid"] = None
    b["invalid"] = [0.0] * 11 + [0.25]
    b["published_mean"] = None
    monkeypatch.setattr("crbench.data.cache.reading.cache_info", lambda path: facts)
    lines = crbench("cache", "info", twin_cache).output.splitlines()
    assert lines[0].endswith("scale default, real)") and lines[3] == "missing   1,234"
    assert lines[-1] == "note      a <note> & more" and "labels" not in str(lines)
    of_a = next(line for line in lines if line.startswith("          VV"))
    of_b = next(line for line in lines if line.startswith("          B12"))
    assert " to " not in of_a and "published" in of_a
    assert of_b.endswith(", 25.00% invalid") and sum("invalid" in line for line in lines) == 1


def test_a_cache_is_named_by_its_file_or_its_card(
    crbench: Crbench, twin_cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "caches").mkdir()
    shutil.copy(twin_cache, tmp_path / "caches" / "ben-14k-twin.h5")
    named = crbench("cache", "info", "ben-14k-twin").output
    assert "caches/ben-14k-twin.h5, " in named and cache_info(twin_cache)["digest"] in named
    shutil.copy(twin_cache, tmp_path / "ben-14k-twin")  # a file of that name comes first
    assert "file      ben-14k-twin," in crbench("cache", "info", "ben-14k-twin").output


def test_a_preview_shows_as_many_pairs_as_asked(
    crbench: Crbench, refused: Refused, twin_cache: Path, tmp_path: Path
) -> None:
    refused(crbench("cache", "preview", twin_cache, "--out", "x.gif"), ".png or .pdf")
    for pairs in (2, 8):
        words = ("cache", "preview", twin_cache, "--pairs", pairs, "--out", f"{pairs}.png")
        assert crbench(*words).output == f"{pairs}.png\n"
    assert imread(tmp_path / "8.png").size > 1.5 * imread(tmp_path / "2.png").size
