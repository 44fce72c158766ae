"""A run with its record: what is opened, what is refused, and a run that sees one sensor alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from crbench import train
from crbench.cli import app
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.evaluation.recorded import open_evaluated, protocol_of, weights_of
from crbench.records import read_record


@pytest.fixture(scope="module")
def one_sensor(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """REJEPA of one modality, evaluated: it serves the direction bb alone."""
    out = tmp_path_factory.mktemp("recorded") / "rejepa"
    settings = {"scale": "tiny", "epochs": 1, "overrides": ["model.modalities=b"]}
    train("rejepa", "ben-14k-twin", **settings, cache=twin_cache, out=out, quiet=True)
    evaluate(out, quiet=True)
    return out


def test_a_run_of_one_sensor_is_drawn_in_the_direction_that_there_is(
    one_sensor: Path, tmp_path: Path
) -> None:
    drawn = CliRunner().invoke(app, ["grid", str(one_sensor), "--out", str(tmp_path / "g.png")])
    assert drawn.exit_code == 0, drawn.output
    assert imread(tmp_path / "g.png").shape[0] > 500
    run = open_evaluated(one_sensor)
    assert set(run.serves) == {"bb"} == set(run.embeddings.serves)


def test_a_map_across_sensors_of_one_sensor_is_refused_in_a_sentence(
    one_sensor: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.png"
    drawn = CliRunner().invoke(app, ["map", str(one_sensor), "--out", str(out)])
    assert drawn.exit_code == 2 and not out.exists()
    assert "no direction 'ab' across sensors" in drawn.output


def test_the_protocol_and_the_weights_are_those_of_the_record(one_sensor: Path) -> None:
    record = read_record(one_sensor / "record.json")
    assert weights_of(record) == "last"
    assert protocol_of(record).query == record.protocol.query
    assert record.training is not None
    best = record.training.model_copy(update={"checkpoint": "best map on val, epoch 3"})
    assert weights_of(record.model_copy(update={"training": best})) == "best"


def test_embeddings_that_the_record_does_not_name_are_refused(
    one_sensor: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(one_sensor, tmp_path / "copy"))
    ids = open_evaluated(copy).embeddings.ids
    assert len(np.unique(ids)) == len(ids)
    (copy / "embeddings.h5").write_bytes((copy / "embeddings.h5").read_bytes() + b"x")
    with pytest.raises(UserError, match="not those of the record"):
        open_evaluated(copy)
    (copy / "embeddings.h5").unlink()
    with pytest.raises(UserError, match="no embeddings"):
        open_evaluated(copy)
