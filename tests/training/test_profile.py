"""What a method costs: the published budgets to the digit, and operations against closed forms."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crbench.cards import load_method
from crbench.cli import app
from crbench.training.profile import profile

DUAL = ("model.encoder=dual", 'model.retrieval_heads=["uni"]', "loss.cross=0.0")
DUAL += ("loss.sig_pair=0.02",)


def asked(*words: str) -> dict:
    result = CliRunner().invoke(app, ["profile", *words, "ben-14k", "--no-time", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_budget_of_cr_jepa() -> None:
    found = asked("cr-jepa")
    assert found["params_trainable"] == found["params_total"] == 117_929_472
    assert found["params_inference"] == 41_445_888
    assert found["parts"] == {
        "stems": 363_008 + 1_673_728,
        "trunks": 37_829_632,
        "predictors": 3 * 25_494_528,
        "heads": 2 * 789_760,
    }
    assert found["members"]["stems.b"] == 1_673_728
    assert {row["value"] for row in found["published"]} == {"9.6", "17", "117.93"}


def test_the_budget_of_separate_trunks() -> None:
    sets = [word for key in DUAL for word in ("--set", key)]
    assert asked("cr-jepa", *sets)["params_trainable"] == 154_768_640


def test_the_budget_of_rejepa() -> None:
    found = asked("rejepa", "--set", "model.modalities=b")
    assert found["params_total"] == 197_094_144
    assert found["parts"] == {
        "context": 87_566_592, "target": 87_566_592, "predictor": 21_960_960,
    }  # fmt: skip
    assert found["gmacs_per_image"]["a"] is None
    assert asked("rejepa")["params_total"] == 197_882_112


def test_the_budget_of_x_jepa() -> None:
    assert asked("x-jepa")["parts"]["encoders"] == 172_866_048


@pytest.mark.parametrize(("modality", "channels", "printed"), [("a", 2, 7.92), ("b", 12, 8.18)])
def test_operations_of_cr_jepa_against_a_closed_form(
    modality: str, channels: int, printed: float
) -> None:
    """Patch embedding, qkv and output, attention's two products, MLP; then the heads."""
    model = load_method("cr-jepa").model
    tokens, width = (224 // 16) ** 2, model["width"]
    block = 4 * tokens * width**2 + 2 * tokens**2 * width + 8 * tokens * width**2
    head = width * model["head_hidden"] + model["head_hidden"] * model["retrieval_dim"]
    expected = tokens * channels * 16**2 * width + model["depth"] * block + 2 * head
    found = profile("cr-jepa", "ben-14k", timed=False)["gmacs_per_image"][modality]
    assert found * 1e9 == pytest.approx(expected, rel=1e-9)
    assert found == pytest.approx(printed, abs=0.005)


def test_closed_forms_have_no_cost() -> None:
    found = asked("cca")
    assert found["params_trainable"] == 0
    assert found["gmacs_per_image"] == {"a": None, "b": None}


def test_time_and_memory_are_measured() -> None:
    found = profile("cr-jepa", "ben-14k-twin", scale="tiny", device="cpu", threads=1, batch=8)
    assert found["batch_size"] == 8
    assert found["threads"] == 1
    assert 0 < found["latency_ms"] < 5000
    # a batch of eight is not slower per image than eight calls: sanity, with a wide margin
    assert found["throughput_per_s"] > 0.5 * 1000 / found["latency_ms"]
    assert 0.1 < found["peak_memory_gib"] < 24
    assert found["device"] == "cpu" and found["hardware"]["processor"]


@pytest.mark.soak
def test_the_cost_study_writes_measured_and_printed_apart(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["ablate", "cost", "--dataset", "ben-14k", "--scale", "tiny", "--threads", "1"]
    result = CliRunner().invoke(app, [*words, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    rows = {row["row"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {"REJEPA", "X-JEPA", "CR-JEPA", "CR-JEPA, separate trunks"}
    assert {p["value"] for p in rows["X-JEPA"]["published"]} == {"10.8", "20", "172.86"}
    page = (out / "cost.md").read_text()
    measured, printed = page.split("## Published")
    assert "GMACs S1" in measured and "10.8" not in measured
    assert "NVIDIA A100" in printed
