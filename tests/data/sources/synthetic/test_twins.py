"""The twins: random access, honest labels, plausible sensors, neither trivial nor hopeless."""

import numpy as np
import pytest

from crbench.cards import load_dataset
from crbench.data.sources import open_source
from crbench.errors import UserError

TWINS = ["ben-14k-twin", "cbrsir-vs-twin", "dsrsid-twin"]


def _sample_f1(labels: np.ndarray, order: np.ndarray) -> float:
    """Mean item F1 of the items ``order`` (N, k) retrieved for each row of multi-hot labels."""
    shared = np.minimum(labels[:, None], labels[order]).sum(2)
    return float((2 * shared / (labels.sum(1)[:, None] + labels[order].sum(2))).mean())


@pytest.mark.parametrize("name", TWINS)
def test_any_range_of_rows_gives_the_same_pixels(name: str) -> None:
    source = open_source(load_dataset(name))
    whole = source.read(3, 9)
    for which in ("a", "b", "labels"):
        again = np.concatenate([getattr(source.read(r, r + 1), which) for r in range(3, 9)])
        np.testing.assert_array_equal(getattr(whole, which), again)


@pytest.mark.parametrize("name", TWINS)
def test_shapes_dtypes_and_values_fit_the_card(name: str) -> None:
    card = load_dataset(name)
    block = open_source(card).read(0, 12)
    for which in ("a", "b"):
        images, modality = getattr(block, which), card.modality(which)
        assert images.shape == (12, len(modality.bands), *modality.size)
        assert images.dtype == np.dtype(modality.dtype)
        assert np.isfinite(images).all()
        assert images.std(axis=(2, 3)).min() > 0, "a band without any contrast"
        if images.dtype == np.uint8:
            assert (images == 255).mean() < 0.1, "too many saturated pixels"


@pytest.mark.parametrize("name", TWINS)
def test_full_scale_has_the_benchmarks_size_and_counts(name: str) -> None:
    card = load_dataset(name, scale="full")
    benchmark = load_dataset(name.removesuffix("-twin"))
    assert card.a.size == benchmark.a.size
    assert card.b.size == benchmark.b.size
    assert (card.a.bands, card.b.bands) == (benchmark.a.bands, benchmark.b.bands)
    assert (card.labels, card.protocols) == (benchmark.labels, benchmark.protocols)
    total = {"ben-14k-twin": 14_832, "cbrsir-vs-twin": 26_901, "dsrsid-twin": 80_000}[name]
    assert sum(card.source["splits"].values()) == total
    block = open_source(card).read(total - 1, total)
    assert block.a.shape[-2:] == card.a.size


def test_seeds_give_other_scenes() -> None:
    one = open_source(load_dataset("ben-14k-twin")).read(0, 4)
    other = open_source(load_dataset("ben-14k-twin", overrides=["source.seed=1"])).read(0, 4)
    assert not np.array_equal(one.b, other.b)


def test_chance_and_label_counts_are_what_a_multi_label_benchmark_has() -> None:
    block = open_source(load_dataset("ben-14k-twin")).read(0, 400)
    counts = block.labels.sum(1)
    assert counts.min() == 1
    assert counts.max() == 4
    share = block.labels.mean(0)
    assert share.max() > 0.35, "no class is common"
    everything = np.tile(np.arange(400), (400, 1))
    assert 0.17 < _sample_f1(block.labels.astype(float), everything) < 0.24


@pytest.mark.parametrize(("which", "least"), [("a", 0.45), ("b", 0.45)])
def test_sensors_tell_the_labels_but_not_all_of_them(which: str, least: float) -> None:
    """Neighbours by band means and deviations: well above chance (0.2), well below 1."""
    block = open_source(load_dataset("ben-14k-twin")).read(0, 400)
    images = getattr(block, which).astype(np.float64)
    feature = np.concatenate([images.mean((2, 3)), images.std((2, 3))], axis=1)
    feature = (feature - feature.mean(0)) / feature.std(0)
    distance = ((feature[:, None] - feature[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    score = _sample_f1(block.labels.astype(float), np.argsort(distance, axis=1)[:, :5])
    assert least < score < 0.85


def test_single_label_classes_are_balanced_in_each_split_and_shuffled() -> None:
    source = open_source(load_dataset("cbrsir-vs-twin", overrides=["source.splits.query=40"]))
    rows = [k for k, name in enumerate(source.split) if name == "query"]
    labels = source.read(rows[0], rows[-1] + 1).labels
    assert np.bincount(labels).tolist() == [4] * 10
    assert not np.array_equal(labels, np.sort(labels))


def test_pan_and_ms_see_the_same_scene() -> None:
    block = open_source(load_dataset("dsrsid-twin")).read(0, 20)
    pan = block.a.astype(float).reshape(20, 32, 4, 32, 4).mean((2, 4))
    ms = block.b.astype(float)[:, :3].mean(1)
    alike = [np.corrcoef(pan[k].ravel(), ms[k].ravel())[0, 1] for k in range(20)]
    assert min(alike) > 0.4
    assert np.median(alike) > 0.85


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.world=ben-41k", "ben-14k"),
        ("source.generator=999", "generator 999"),
        ("source.looks=0", "looks"),
        ("source.splits.val=0", "splits.val: Input should be greater"),
        ("a.size=[30, 32]", "square"),
        ("b.size=[20, 20]", "multiple"),
        ('labels.classes=["Moon"]', "Moon"),
        ("source.kind=twins", "twin"),
    ],
)
def test_bad_cards_are_refused_by_name(override: str, message: str) -> None:
    card = load_dataset("ben-14k-twin", overrides=[override])
    with pytest.raises(UserError, match=message):
        open_source(card)
