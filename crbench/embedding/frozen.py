"""``crbench embed --encoder timm:NAME``: image encoders of others, frozen, as baselines.

One encoder serves both modalities; only its first layer differs, which timm adapts to the number
of bands (weights repeated over the bands and rescaled; in front of random weights, drawn anew).
Images are z-scored per band like those of a run and resized to the encoder's own input size.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crbench.embedding.embedder import PRECISION, Embedder, embed_cache, scored_splits
from crbench.errors import UserError, nearest
from crbench.files import check_writable, sha256_file
from crbench.run.devices import pick_device
from crbench.run.opened import band_counts, open_dataset
from crbench.seeds import derive
from crbench.words import DIRECTIONS, MODALITIES, Modality, Role

_VIEW = "features"
_BATCH = 64


class Frozen(nn.Module):
    """A timm encoder per modality, alike but for the first layer: (B, C, S, S) → (B, D) pooled."""

    directions = DIRECTIONS

    def __init__(self, encoders: Mapping[str, nn.Module], image_size: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.image_size = image_size

    def embed(self, images: Tensor, modality: str) -> dict[str, Tensor]:
        """``features``: (B, D)."""
        return {_VIEW: self.encoders[modality](images)}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """One embedding serves everything."""
        return _VIEW


def embed_encoder(
    encoder: str,
    dataset: str,
    *,
    weights: str | Path | None = None,
    random_weights: bool = False,
    seed: int = 0,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """Embed a dataset with a frozen encoder, ``timm:NAME``, and return the file, ready for
    ``crbench evaluate FILE --dataset``.

    ``weights`` is a local .safetensors, .pth or .bin file of that architecture, read without
    executing anything; ``random_weights`` takes none, drawn from ``seed``. With neither, timm's
    own weights are fetched from where timm keeps them, or a UserError says how to go on.
    """
    if weights is not None and random_weights:
        raise UserError("--weights and --random-weights exclude each other", where="--weights")
    name = _name(encoder)
    data = open_dataset(dataset, cache)
    suffix = f"-untrained-seed{seed}" if random_weights else ""
    suffix = f"-{Path(weights).stem}" if weights else suffix
    folder = Path("runs") / data.card.name / (re.sub(r"[^\w.@-]+", "-", encoder) + suffix)
    target = Path(out) if out else folder / "embeddings.h5"
    check_writable(target)
    chosen = pick_device(device)
    model, stated, digest = build_frozen(
        name, band_counts(data.card), weights, random_weights, seed
    )
    about = {
        "encoder": encoder,
        "weights": stated,
        "weights_digest": digest,
        "image_size": model.image_size,
        "precision": PRECISION,
        "cache_digest": data.digest,
    } | ({"seed": seed} if random_weights else {})
    return embed_cache(
        target,
        data,
        scored_splits(data),
        chosen,
        weights=digest,
        method=f"{encoder} {model.image_size}",
        make=lambda: Embedder(model, chosen, batch_size=_BATCH, quiet=quiet),
        about=about,
    )


def _name(encoder: str) -> str:
    """The name of a timm model in ``timm:NAME``."""
    source, colon, name = encoder.partition(":")
    if source != "timm" or not colon or not name:
        raise UserError(f"'{encoder}' is no encoder", where="--encoder",
                        fix="write timm:NAME, e.g. timm:vit_small_patch16_224.dino")  # fmt: skip
    import timm

    bare = name.split(".")[0]
    if not timm.is_model(bare):
        close = nearest(bare, timm.list_models())
        raise UserError(f"timm has no model '{name}'", where="--encoder",
                        fix=f"did you mean '{close}'?" if close else None)  # fmt: skip
    return name


def build_frozen(
    name: str,
    bands: Mapping[str, int],
    weights: str | Path | None,
    random_weights: bool,
    seed: int,
) -> tuple[Frozen, str, str]:
    """The encoder of both modalities, what its weights are, and their digest (of the file, or of
    all values where there is no file)."""
    import timm

    stated = "untrained" if random_weights else f"timm's for {name}"
    state: dict[str, Tensor] = {}
    if weights is not None:
        state, stated = _state(Path(weights)), Path(weights).name

    def create(m: Modality, draw: int) -> nn.Module:
        options: dict[str, Any] = {}
        if state:  # a copy: timm takes entries out of what it is given
            options["pretrained_cfg_overlay"] = {"state_dict": dict(state), "custom_load": False}
        torch.manual_seed(derive(seed, "frozen", name, m, draw))
        made: nn.Module = timm.create_model(
            name, pretrained=not random_weights, in_chans=bands[m], num_classes=0, **options
        )
        return made

    try:
        encoders = {m: create(m, 0) for m in MODALITIES}
        again = encoders["b"] if random_weights else create("b", 1)
    except Exception as error:  # hub, network, tensors that do not fit: kinds of many libraries
        raise _cannot(name, weights, str(error) or type(error).__name__) from error
    ours, theirs = encoders["b"].state_dict(), again.state_dict()
    drawn = [key for key in ours if not torch.equal(ours[key], theirs[key])]
    if drawn:  # timm only warns of tensors that the weights lack, and leaves them as drawn
        text = f"{len(drawn)} tensors are not in them, e.g. {drawn[0]}"
        raise _cannot(name, weights, text)
    for key, value in encoders["a"].state_dict().items():
        if ours[key].shape == value.shape:  # all but the first layer
            ours[key].copy_(value)
    model = Frozen(encoders, int(encoders["a"].pretrained_cfg["input_size"][-1]))  # type: ignore[index,arg-type]
    return model, stated, sha256_file(weights) if weights else _digest(model)


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file; pickled code is never run."""
    from timm.models import load_state_dict

    if not path.is_file():
        raise UserError("no such weights file", where=path, fix="check the path")
    try:
        state = load_state_dict(str(path), use_ema=False, weights_only=True)
    except Exception as error:  # of pickle, zip files and safetensors: kinds of many libraries
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the weights cannot be read without running code in them, or are damaged: {first}",
            where=path,
            fix="save the state_dict as .safetensors, or by torch.save(model.state_dict(), …)",
        ) from error
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError("there are no tensors in this file", where=path,
                        fix="save the state_dict of the model")  # fmt: skip
    return tensors


def _cannot(name: str, weights: str | Path | None, text: str) -> UserError:
    first = text.strip().splitlines()[0]
    if weights is not None:
        return UserError(f"these weights do not fit {name}: {first[:200]}", where=weights,
                         fix="give weights of this architecture")  # fmt: skip
    return UserError(
        f"the weights of {name} cannot be had here: {first.partition('. ')[0][:200]}",
        where="--encoder",
        fix="download them elsewhere and give --weights FILE, or take --random-weights",
    )


def _digest(model: nn.Module) -> str:
    """SHA-256 of all names, shapes and values."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
