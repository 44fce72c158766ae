"""What a method is: built from its card and the bands, a loss over batches, embeddings by view.

A *view* is one embedding of an image: CR-JEPA has two (its ``uni`` and ``cross`` heads), X-JEPA
an ``encoder`` and a ``predicted`` one. ``view`` says which of them serves which direction and
role, so that every image is encoded once whatever the number of directions, and the record can
say what was compared with what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from torch import Tensor, nn

from crbench.cards import MethodCard, Strict, parse
from crbench.words import DIRECTIONS, Modality, Role

if TYPE_CHECKING:
    from crbench.data.pairs import Pairs

Batch = Mapping[str, Tensor]
_ModelT = TypeVar("_ModelT", bound=Strict)
_LossT = TypeVar("_LossT", bound=Strict)


class Tables(Strict, Generic[_ModelT, _LossT]):
    """A ``Config``: what a card's ``[model]`` and ``[loss]`` tables may hold."""

    model: _ModelT
    loss: _LossT


@dataclass(frozen=True)
class Step:
    """Where training stands: what masks, random directions and schedules may depend on.

    ``index`` counts optimiser steps from 0 over the whole run, ``total`` is their number;
    ``epoch`` counts from 0. ``seed`` is the run's seed and the same on all ranks.
    """

    index: int
    epoch: int
    total: int
    seed: int

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 at the first step, below 1 at the last."""
        return self.index / max(1, self.total)


class Method(nn.Module):
    """Base of all methods. A subclass declares ``Config`` and the five functions below.

    ``batch`` is ``{"a": (B, C_a, S, S), "b": (B, C_b, S, S), "keys": (B,) int64}``: normalised
    float32 images at the model's input size, and a stable hash of each pair's id, from which
    masks are drawn, so that they depend neither on the order of a batch nor on the ranks.
    """

    Config: ClassVar[type[Strict]] = Strict  # the card's [model] and [loss] tables
    directions: tuple[str, ...] = DIRECTIONS  # fewer where a model sees one modality only
    trained_by: ClassVar[Literal["gradient", "fit", "nothing"]] = "gradient"

    def __init__(self, card: MethodCard, bands: Mapping[str, int]) -> None:
        """Build from a resolved card and the number of bands per modality, e.g. a=2, b=12."""
        super().__init__()
        self.card = card
        self.bands = dict(bands)
        tables: dict[str, Any] = {"model": card.model, "loss": card.loss}
        self.config: Any = parse(self.Config, tables, where=f"method card '{card.name}'")

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.config.model.image_size)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``{"loss": weighted sum, term: unweighted value, …}``, fp32 scalars. Of terms
        that are not detached the share of the gradient is recorded (training/shares.py)."""
        raise NotImplementedError

    def embed(self, images: Tensor, modality: Modality) -> dict[str, Tensor]:
        """Every view of ``images`` (B, C, S, S): ``{view: (B, R)}``, float32, any length."""
        raise NotImplementedError

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """Name of the view of ``modality`` that serves ``role`` in ``direction``."""
        raise NotImplementedError

    def after_step(self, step: Step) -> None:
        """Called after each optimiser step: moving averages and the like."""

    def fit(self, pairs: Pairs, val: Pairs | None = None) -> dict[str, float]:
        """Closed-form training, for methods with ``trained_by = "fit"``: on ``pairs``, with what
        there is to choose chosen on ``val`` (None where the set has none). Returns what was chosen
        and how many were tried, which the record keeps."""
        raise NotImplementedError

    def parts(self) -> dict[str, nn.Module | list[nn.Module]]:
        """Named parts for parameter counts, in the order of the specification."""
        return dict(self.named_children())

    def inference_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that embedding needs; all of them unless a method says otherwise."""
        return self.parameters()


def count(parameters: Iterator[nn.Parameter]) -> int:
    """Number of scalars, each parameter once."""
    return sum({id(p): p.numel() for p in parameters}.values())
