"""The linear probe: what it reads, what it refuses, and that it stays out of the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.evaluation.probe import check_probe, judged
from crbench.records import read_record


def blobs(n: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return (np.eye(3, 8)[labels] + spread * rng.standard_normal((n, 8))).astype("f4"), labels


def test_single_labels_that_can_be_told_apart_and_that_cannot() -> None:
    train, query = blobs(200, 0.05, 0), blobs(80, 0.05, 1)
    found = judged(*train, *query, "single")
    assert (found["accuracy"], found["macro_f1"], found["macro_map"]) == (1.0, 1.0, None)
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((200, 8)).astype("f4"), rng.integers(0, 3, 200)
    assert judged(*noise, *query, "single")["accuracy"] < 0.8


def test_several_labels_one_of_them_never_trained() -> None:
    rng = np.random.default_rng(0)
    x, q = (rng.standard_normal((n, 6)).astype("f4") for n in (300, 100))
    y, truth = (
        np.stack([v[:, 0] > 0, v[:, 1] > 0, v[:, 2] > 1], 1).astype(np.uint8) for v in (x, q)
    )
    y[:, 2] = 0
    found = judged(x, y, q, truth, "multi")
    assert found["n_classes"] == 3
    prior = average_precision_score(truth[:, 2], np.zeros(100))  # no knowledge: the class's share
    assert found["macro_map"] == pytest.approx((2 + prior) / 3, abs=0.02)
    assert found["macro_f1"] == pytest.approx(2 / 3, abs=0.04)
    assert f1_score(truth[:, 2], np.zeros(100), zero_division=0) == 0


def test_a_record_holds_the_probe_and_the_same_scores(trained_run: Path, tmp_path: Path) -> None:
    plain = evaluate(trained_run, out=tmp_path / "plain.json", quiet=True)
    record = evaluate(trained_run, out=tmp_path / "probe.json", probe=True, quiet=True)
    assert plain.probe is None
    assert record.scores == plain.scores
    assert read_record(tmp_path / "probe.json") == record
    assert set(record.probe) == {"a", "b"}
    for entry in record.probe.values():
        assert (entry.view, entry.n_train, entry.n_query) == ("uni", 96, 40)
        assert entry.accuracy is None
        assert 0 < entry.macro_f1 <= 1
        assert 0 < entry.macro_map <= 1


def test_queries_that_were_trained_on_are_refused(twin_cache: Path) -> None:
    data = open_cache(twin_cache)
    chosen = data.card.protocols[data.card.protocol]
    check_probe(data, chosen)
    with pytest.raises(UserError, match=r"training pairs \(train\)"):
        check_probe(data, chosen.model_copy(update={"query": ["train"]}))


def test_a_record_states_memory_and_devices(trained_run: Path, tmp_path: Path) -> None:
    record = evaluate(trained_run, out=tmp_path / "r.json", device="cpu", quiet=True)
    assert record.devices == {"embed": "cpu", "score": "cpu"}
    for stage in ("train_rss", "evaluate_rss"):  # the run may come from another worker's process
        assert 0.05 < record.memory[stage] < 64
    assert set(record.timings) == {"train_s", "embed_s", "score_s"}


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_record_says_so(trained_run: Path, kind: str) -> None:
    record = evaluate(trained_run, approximate=kind, quiet=True)
    assert read_record(trained_run / f"record-{kind}.json") == record
    (trained_run / f"record-{kind}.json").unlink()
    assert record.approximate.kind == kind
    assert record.approximate.sample == 40
    assert 0.3 < record.approximate.recall["ab"]["5"] <= 1
    assert "map" not in record.scores["ab"]
    assert record.devices["score"] == "FAISS, cpu"
    with pytest.raises(UserError, match="unknown index 'lsh'"):
        evaluate(trained_run, approximate="lsh", quiet=True)
