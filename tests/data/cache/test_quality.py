"""Findings: odd patches by id, duplicates across splits, neighbours, far statistics, and ranges."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crbench.cards import ProtocolCard, load_dataset
from crbench.cli.app import app
from crbench.data.cache import build
from crbench.data.cache.build import build_cache
from crbench.data.cache.layout import spans
from crbench.data.cache.quality import far_from_published, neighbour_share
from crbench.data.cache.reading import cache_info, open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import Block, open_source

SIZES = [f"source.splits.{name}={size}" for name, size in (("train", 20), ("val", 5), ("test", 9))]


@pytest.fixture
def odd_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """34 pairs: empty a of row 2, constant VH of row 3, b of row 30 (test) equal to row 1 (train),
    b of row 5 equal to row 4 (both train), and half of a of row 6 is fill."""
    card = load_dataset("ben-14k-twin", overrides=SIZES)
    source = open_source(card)
    whole = source.read(0, 34)
    a, b = whole.a.copy(), whole.b.copy()
    a[2] = 0
    a[3, 1] = -12.5
    a[6, :, :16] = 0
    b[30], b[5] = b[1], b[4]
    groups = ["34TCR/20170803"] * 26 + [f"34T{k}/20170803" for k in (1, 1, 2, 3, 4, 5, 5, 5)]

    def read(start: int, stop: int) -> Block:
        return Block(a[start:stop], b[start:stop], whole.labels[start:stop])

    changed = dataclasses.replace(source, read=read, groups=groups)
    monkeypatch.setattr(build, "open_source", lambda *_: changed)
    return build_cache(card, tmp_path / "odd.h5", quiet=True)


def test_odd_patches_duplicates_and_neighbours_are_named(odd_cache: Path) -> None:
    problems, findings = verify_cache(odd_cache, quiet=True)
    assert problems == []
    text = "\n".join(findings)
    name = "'ben-14k-twin-{}'".format
    assert f"a: 1 empty (all zero): {name('02')}" in findings
    assert f"a: 1 with a constant band: {name('03')} (VH)" in findings
    assert (
        f"b: 1 images stand in more than one split: {name('01')} (train) = {name('30')} (test)"
        in findings
    )
    assert "b: 1 images stand more than once in their split" in findings
    assert "far from the published ones" not in text  # synthetic sets have none of their own
    assert "far from the published ones" in far_from_published(open_cache(odd_cache))[0]
    # test is rows 25 to 33: one TCR, two of 34T1, one each of 34T2, 34T3, 34T4, three of 34T5
    assert f"{5 / 9:.1%} of the queries have a neighbour" in text


def test_they_are_said_by_build_and_verify(
    odd_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = load_dataset("ben-14k-twin", overrides=SIZES)
    build_cache(card, odd_cache.with_name("again.h5"))
    assert "'ben-14k-twin-02'" in capsys.readouterr().err
    result = CliRunner().invoke(app, ["cache", "verify", str(odd_cache), "--quiet"])
    assert result.exit_code == 0
    assert "'ben-14k-twin-30' (test)" in result.stdout
    assert result.stdout.rstrip().endswith("sound")


def test_ranges_and_invalid_shares_are_those_of_the_train_split(odd_cache: Path) -> None:
    cache = open_cache(odd_cache)
    info = cache_info(odd_cache)["modalities"]
    train = cache.rows(["train"])
    for which in ("a", "b"):
        images = cache.images(which)[train]
        assert info[which]["min"] == images.min((0, 2, 3)).astype(float).tolist()
        assert info[which]["max"] == images.max((0, 2, 3)).astype(float).tolist()
    # rows 2 (whole) and 6 (half) of the 20 in train
    assert info["a"]["invalid"] == pytest.approx([1.5 / 20] * 2)
    result = CliRunner().invoke(app, ["cache", "info", str(odd_cache)])
    assert "7.50% invalid" in result.stdout


def test_nan_in_a_cache_made_elsewhere_is_a_problem_with_its_id(odd_cache: Path) -> None:
    offset = spans(odd_cache)["a"][0]
    with open(odd_cache, "r+b") as handle:
        handle.seek(offset + 7 * 2 * 32 * 32 * 4 + 400)
        handle.write(np.float32(np.nan).tobytes())
    problems, _ = verify_cache(odd_cache, quiet=True)
    assert "a: 1 with pixels that are NaN or infinite: 'ben-14k-twin-07'" in problems


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [(0.0, 1.0, False), (0.49, 1.9, False), (0.51, 1.0, True), (0.0, 2.1, True), (0.0, 0.4, True)],
)
def test_the_rule_for_far_statistics(twin_cache: Path, mean: float, std: float, said: bool) -> None:
    cache = open_cache(twin_cache)
    for which in ("a", "b"):
        group = cache.attributes[which]
        group["mean"] = np.asarray(group["published_mean"])
        group["std"] = np.asarray(group["published_std"])
    assert far_from_published(cache) == []
    old = np.asarray(cache.attributes["b"]["published_std"])[3]
    group = cache.attributes["b"]
    group["mean"], group["std"] = group["mean"].copy(), group["std"].copy()
    group["mean"][3] += mean * old
    group["std"][3] = std * old
    found = far_from_published(cache)
    assert bool(found) is said
    if said:
        assert "B04" in found[0] and "B03" not in found[0]


def test_neighbours_equal_a_count_by_hand(odd_cache: Path) -> None:
    cache = open_cache(odd_cache)
    for query, gallery in ((["test"], ["test"]), (["val"], ["train"]), (["test"], ["train"])):
        q, g = cache.rows(query), cache.rows(gallery)
        hits = [any(r != s and cache.groups[r] == cache.groups[s] for s in g) for r in q]
        found = neighbour_share(cache, ProtocolCard(query=query, gallery=gallery))
        assert found == pytest.approx(np.mean(hits))


def test_protocols_and_words_do_not_make_another_cache(tmp_path: Path) -> None:
    path = build_cache(load_dataset("ben-14k-twin", overrides=SIZES), tmp_path / "c.h5", quiet=True)
    other = load_dataset("ben-14k-twin", overrides=[*SIZES, "title=T", 'headline=["map"]'])
    before = path.stat().st_mtime_ns
    assert build_cache(other, path, quiet=True) == path
    assert path.stat().st_mtime_ns == before
