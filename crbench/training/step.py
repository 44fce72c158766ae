"""One optimiser step: what training, its estimates and its benchmark all run.

On several ranks each takes a fixed share of every batch; masks, flips and SIGReg's directions are
functions of names, so they are those of one process. Losses over a batch are over all of it
(models/across.py), gradients are averaged by DDP (gloo on CPUs, NCCL on GPUs). With float64
the gradients are those of one process to rounding.

Nothing in a step waits for the device: terms and the gradient's norm stay tensors.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from crbench.cards import TrainTable
from crbench.data.pairs import dihedral
from crbench.errors import UserError
from crbench.models import across
from crbench.models.base import Batch, Method, Step
from crbench.run.devices import Ranks
from crbench.training.schedule import make_optimizer, make_scheduler, set_weight_decay
from crbench.training.shares import gradient_shares


def batch_size(card: TrainTable, pairs: int, ranks: Ranks) -> int:
    """Pairs of a step over all ranks: the card's, fewer where there are fewer pairs.

    A card's batch that ranks and parts do not divide is a UserError: it would not be its batch.
    """
    whole = ranks.size * card.accumulate
    if card.batch_size % whole or card.batch_size < 2 * whole or pairs < 2 * whole:
        raise UserError(
            f"a batch of {min(card.batch_size, pairs)} pairs does not divide into {ranks.size} "
            f"ranks × {card.accumulate} parts of two pairs or more",
            where="train.batch_size",
            fix="change the number of ranks, train.batch_size or train.accumulate",
        )
    return min(card.batch_size, pairs - pairs % whole)


class Stepper:
    """A model with its optimiser and schedules, ready to take steps.

    ``compiled`` says whether torch.compile is in use: where the card asks for it and it does not
    work, a message says so and blocks run as they are.
    """

    def __init__(
        self,
        model: Method,
        card: TrainTable,
        precision: str,
        steps_per_epoch: int,
        ranks: Ranks | None = None,
    ) -> None:
        self.model, self.card, self.precision = model, card, precision
        self.ranks = ranks or Ranks()
        self.optimizer = make_optimizer(model, card)
        self.scheduler = make_scheduler(self.optimizer, card, steps_per_epoch)
        if card.checkpointing:
            _checkpoint_blocks(model)
        self.compiled = card.compile and _compile_blocks(model)
        self.group = _gradient_group(model) if self.ranks.size > 1 else None
        self.loss = self._shared(_Loss(model), self.group) if self.group else _Loss(model)

    def _shared(self, loss: nn.Module, group: dist.ProcessGroup) -> nn.Module:
        """``loss`` whose backward pass leaves the mean of the ranks' gradients.

        A parameter that no active loss reads has none on any rank. A static graph finds out once;
        it does not go together with parts, whose backward pass looks anew (and waits) each time.
        """
        static = self.card.accumulate == 1
        with warnings.catch_warnings():
            # buffers are constants here; the new name of the switch is not in torch 2.6
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            return DistributedDataParallel(
                loss,
                process_group=group,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                static_graph=static,
                find_unused_parameters=not static,
            )

    def __call__(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One step on this rank's share of a batch; the loss terms of the whole batch and
        ``grad_norm``, detached, float32, on the device."""
        self.scheduler.step_update(step.index)
        set_weight_decay(self.optimizer, self.card, step)
        self.optimizer.zero_grad(set_to_none=True)
        parts = _parts(batch, self.card.accumulate)
        each: list[dict[str, Tensor]] = []
        for index, part in enumerate(parts):
            sent: Any = contextlib.nullcontext()
            if index + 1 < len(parts) and isinstance(self.loss, DistributedDataParallel):
                sent = self.loss.no_sync()  # gradients of all parts but the last are added up here
            with across.ranks(self.group), sent:
                each.append(self._backward(part, step, len(parts)))
        terms = each[0]
        if len(each) > 1:
            terms = {name: torch.stack([part[name] for part in each]).mean() for name in terms}
        if self.group is not None:
            terms = _mean_over_ranks(terms, self.group)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.card.clip)
        self.optimizer.step()
        self.model.after_step(step)
        return terms | {"grad_norm": norm}

    def shares(self, batch: Batch, step: Step) -> dict[str, float]:
        """Shares of the loss terms on the first part of a batch, see ``gradient_shares``.
        Every rank calls it, and gets the same. Nothing is left behind."""
        part = _parts(batch, self.card.accumulate)[0]
        with across.ranks(self.group):
            return gradient_shares(self._terms(self.model.loss, part, step), self.model, self.group)

    def _terms(
        self, loss: Callable[[Batch, Step], dict[str, Tensor]], batch: Batch, step: Step
    ) -> dict[str, Tensor]:
        """The terms of ``loss`` on a batch as it is trained on: turned, in the run's precision."""
        if self.card.augment == "dihedral":
            batch = dihedral(dict(batch), step.seed, step.epoch)
        bf16 = self.precision == "bf16"
        with torch.autocast(batch["a"].device.type, dtype=torch.bfloat16, enabled=bf16):
            return loss(batch, step)

    def _backward(self, batch: Batch, step: Step, parts: int) -> dict[str, Tensor]:
        """Add the gradients of one part; its terms, detached."""
        terms = self._terms(self.loss, batch, step)
        (terms["loss"] if parts == 1 else terms["loss"] / parts).backward()
        return {name: value.detach().float() for name, value in terms.items()}


class _Loss(nn.Module):
    """A method's loss as a module's forward pass, which is what DDP wraps."""

    def __init__(self, model: Method) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return self.model.loss(batch, step)


def _parts(batch: Batch, count: int) -> list[dict[str, Tensor]]:
    """``batch`` cut into ``count`` stretches, fewer where it has fewer pairs."""
    if count == 1:
        return [dict(batch)]
    cut = {name: value.tensor_split(min(count, len(value))) for name, value in batch.items()}
    return [dict(zip(cut, part, strict=True)) for part in zip(*cut.values(), strict=True)]


def _mean_over_ranks(terms: dict[str, Tensor], group: dist.ProcessGroup) -> dict[str, Tensor]:
    """Every term is a mean over the ranks, or the same on all: one small sum says all of them."""
    values = torch.stack(list(terms.values())) / dist.get_world_size(group)
    dist.all_reduce(values, group=group)
    return dict(zip(terms, values.unbind(), strict=True))


def _gradient_group(model: nn.Module) -> dist.ProcessGroup:
    """The group over which gradients and embeddings travel: NCCL between GPUs, else gloo."""
    cuda = next(model.parameters()).is_cuda
    group: Any = dist.new_group(backend="nccl") if cuda else dist.group.WORLD
    return group


def blocks(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks: the members of every list that is called ``blocks``."""
    lists = (part for name, part in model.named_modules() if name.split(".")[-1] == "blocks")
    return [block for part in lists for block in part.children()]


def _checkpoint_blocks(model: nn.Module) -> None:
    """Keep what enters a block, not what is inside; the way back computes that again."""
    for block in blocks(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _compile_blocks(model: nn.Module) -> bool:
    """Compile every block; blocks of one kind and shape share the work. False where it fails."""
    device = next(model.parameters()).device
    try:
        x = torch.ones(8, device=device, requires_grad=True)
        torch.compile(lambda x: (x.sin() * x).sum())(x).backward()
    except Exception as error:  # whatever a toolchain comes up with: no compiler, no headers, …
        first = str(error).strip().splitlines()[0]
        print(f"torch.compile does not work here, going on without it: {first}", file=sys.stderr)
        return False
    for block in blocks(model):
        block.compile()
    return True
