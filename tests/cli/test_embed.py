"""crbench embed: a run, other images or an encoder, and which options go with which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from crbench.data.cache.reading import open_cache
from crbench.embedding.file import read_embeddings

Crbench = Callable[..., Result]
Refused = Callable[..., None]


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ((), ("name a run folder, or an --encoder",)),
        (("run", "--encoder", "timm:x"), ("name a run folder, or an --encoder",)),
        (("--encoder", "timm:x"), ("which dataset?", "--dataset")),
        (("--encoder", "timm:x", "--images", "i"), ("--images goes with a run alone",)),
        (("--encoder", "timm:x", "--modality", "a"), ("--modality goes with a run alone",)),
        (("run", "--dataset", "x"), ("--dataset goes with --encoder alone",)),
        (("run", "--random-weights"), ("--random-weights goes with --encoder alone",)),
        (("run", "--weights", "w.pth"), ("--weights goes with --encoder alone", "last or best")),
        (("run", "--images", "i", "--weights", "best"), ("by the last weights",)),
        (("run", "--images", "i", "--cache", "c.h5"), ("--cache does not go with --images",)),
        (("run", "--modality", "a"), ("--modality goes with --images alone",)),
        (("run", "--out", "e.h5"), ("--out goes with --images alone",)),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together(
    crbench: Crbench, refused: Refused, words: tuple[str, ...], pieces: tuple[str, ...]
) -> None:
    refused(crbench("embed", *words), *pieces)


def test_a_run_is_embedded_into_its_folder(
    crbench: Crbench, trained_run: Path, twin_cache: Path
) -> None:
    result = crbench("embed", trained_run, "--quiet", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.output == f"{trained_run / 'embeddings.h5'}\n"
    cache = open_cache(twin_cache)
    vectors = read_embeddings(trained_run / "embeddings.h5", cache.ids)
    assert vectors.ids.tolist() == cache.ids[96:].tolist()  # what the protocols ask for
