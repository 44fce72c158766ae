"""The command that embeds: a run's dataset, other images, or a dataset by a frozen encoder."""

from __future__ import annotations

from pathlib import Path

import typer

from crbench.cli import options as opt
from crbench.errors import UserError


def embed_command(
    run: Path | None = typer.Argument(None, help="Run folder, as written by train."),
    images: Path | None = typer.Option(
        None, metavar="DIR|CACHE", help="Embed these instead of the run's dataset."
    ),
    modality: str | None = typer.Option(None, help="a or b: what a folder holds."),
    encoder: str | None = typer.Option(
        None, metavar="timm:NAME", help="A frozen encoder instead of a run."
    ),
    weights: Path | None = typer.Option(
        None,
        metavar="FILE|last|best",
        help="Of an encoder: .safetensors or .pth; of a run: last, or those of --keep-best.",
    ),
    random_weights: bool = typer.Option(
        False, "--random-weights", help="The encoder untrained, from --seed."
    ),
    dataset: str | None = typer.Option(None, help="Dataset card for the encoder."),
    seed: opt.Seed = 0,
    out: Path | None = typer.Option(None, help="File instead of the usual place."),
    cache: opt.CacheFile = None,
    device: opt.Device = "auto",
    quiet: opt.Quiet = False,
) -> None:
    """Embed a run's dataset, other images with a run, or a dataset with a frozen encoder."""
    with_run = {"--images": images, "--modality": modality}
    with_encoder = {"--dataset": dataset, "--random-weights": random_weights}
    if (run is None) == (encoder is None):
        raise UserError("name a run folder, or an --encoder and its --dataset", where="embed")
    if encoder:
        opt.refuse_options(with_run, "goes with a run alone")
    else:
        opt.refuse_options(with_encoder, "goes with --encoder alone")
    if run is not None and weights is not None and str(weights) not in ("last", "best"):
        raise UserError("--weights goes with --encoder alone", fix="of a run: last or best")
    if encoder is not None:
        from crbench.embedding.frozen import embed_encoder

        if dataset is None:
            raise UserError("which dataset?", where="--encoder", fix="name its card by --dataset")
        path = embed_encoder(
            encoder, dataset, weights=weights, random_weights=random_weights, seed=seed,
            cache=cache, out=out, device=device, quiet=quiet,
        )  # fmt: skip
        print(path)
        if not quiet:
            print(f"next: crbench evaluate {path} --dataset {dataset}")
    elif run is not None and images is not None:
        from crbench.embedding.images import embed_images

        if weights is not None:
            raise UserError("other images are embedded by the last weights", where="--weights")
        if cache is not None:
            raise UserError("--cache does not go with --images", fix="give the cache as --images")
        print(embed_images(run, images, modality=modality, out=out, device=device, quiet=quiet))
    elif run is not None:
        from crbench.embedding.embedder import embed_run
        from crbench.run.opened import open_run

        opt.refuse_options({"--modality": modality, "--out": out}, "goes with --images alone")
        opened = open_run(run, cache=cache, weights=str(weights or "last"))
        print(embed_run(opened, device=device, quiet=quiet))
