"""Validation while a run trains: scores of a record, and nothing of the run is changed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import read_json, read_jsonl
from crbench.models.cr_jepa import CRJEPA
from crbench.models.registry import build_method
from crbench.run.folder import Options, RunFolder
from crbench.training.journal import Validation

Go = Callable[..., Path]


def test_validation_scores_are_those_of_a_record_on_the_split(
    twin_cache: Path, watched: Path, tmp_path: Path
) -> None:
    lines = read_jsonl(watched / "metrics.jsonl")
    assert ["val" in line for line in lines] == [False, True, True]  # every second, and the last
    found = lines[-1]["val"]
    # the headline's, the one that asks for no label, and the one to keep by
    assert set(found["scores"]) == {"f1_item@5", "map", "pair_r@5"}
    assert set(found["scores"]["pair_r@5"]) == {"ab", "ba", "mean"}
    assert found["collapsed"] is None and set(found["health"]) == {"a", "b"}
    info = read_json(watched / "run.json")
    info["dataset"]["protocols"]["on-val"] = {"query": ["val"], "gallery": ["val"]}
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.json").write_text(json.dumps(info))
    (copy / "weights.safetensors").symlink_to(watched / "weights.safetensors")
    record = evaluate(copy, protocol="on-val", quiet=True)
    for metric, values in found["scores"].items():
        scores = {d: part[metric].value for d, part in record.scores.items() if metric in part}
        mine = {d: value for d, value in scores.items() if value is not None}
        assert {d: values[d] for d in mine} == mine  # type: ignore[index]
        assert values["mean"] == pytest.approx(math.fsum(mine.values()) / len(mine))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"keep_best": "map"}, "--eval-every"),
        ({"stop_on_collapse": True}, "--eval-every"),
        ({"eval_every": 1, "keep_best": "mpa"}, "'map'"),
        ({"track": ["tensorbord"]}, "'tensorboard'"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_first(
    go: Go, twin_cache: Path, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError) as caught:
        go(twin_cache, tmp_path / "out", **options)
    assert named in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_scoring_leaves_modes_and_random_numbers_as_they_were(
    plain: Path, twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For methods of others, with dropout, frozen parts and draws of their own."""
    info = RunFolder(plain).finished().model_copy(update={"options": Options(eval_every=1)})
    model = build_method(info.method_card, {"a": 2, "b": 12}).train()
    model.heads["uni"].eval()
    modes = [module.training for module in model.modules()]
    real, seen = CRJEPA.embed, []

    def draws(self: CRJEPA, images: torch.Tensor, modality: Any) -> dict[str, torch.Tensor]:
        seen.append(any(module.training for module in self.modules()) or torch.rand(1))
        return real(self, images, modality)

    monkeypatch.setattr(CRJEPA, "embed", draws)
    state = torch.get_rng_state()
    Validation(open_cache(twin_cache), info, model, torch.device("cpu")).score()
    assert seen and True not in seen
    assert [module.training for module in model.modules()] == modes and len(set(modes)) == 2
    assert torch.equal(torch.get_rng_state(), state)
