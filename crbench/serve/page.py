"""What stands on the page: the run, the form, the query and its neighbours."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np

from crbench.board.writers import page
from crbench.data.pair_labels import label_names
from crbench.data.query_image import ENDINGS
from crbench.draw.grids import channel_words, relevance_words
from crbench.seeds import derive
from crbench.words import arrow

if TYPE_CHECKING:
    from crbench.archive.search import Answer, Hit, Search
    from crbench.errors import UserError

TOPS = (10, 20, 50, 100)
_EXAMPLES = 12  # queries shown to begin with
_OFFERED = 100  # ids that the field offers while one types
_ONWARD = {"aa": "aa", "bb": "bb", "ab": "ba", "ba": "ab"}  # to search on with a neighbour


@dataclass(frozen=True)
class PageState:
    """A view of the page: what its address says. ``query`` is an id, or empty."""

    direction: str
    query: str = ""
    top: int = TOPS[1]
    examples: int = 0

    @property
    def address(self) -> str:
        """The address that shows this view again."""
        fields = {"direction": self.direction, "query": self.query, "top": self.top}
        if self.examples:
            fields["examples"] = self.examples
        return "/?" + urlencode({key: value for key, value in fields.items() if value != ""})


class Pages:
    """Writes the page of one opened run."""

    def __init__(self, search: Search) -> None:
        self.search, self.cache = search, search.cache
        self.first = PageState(search.default_direction)
        self.sensors = {m: search.cache.card.modality(m).name for m in ("a", "b")}
        queries = search.cache.rows(search.protocol.query)
        rng = np.random.default_rng(derive("serve", search.cache.digest))
        self.queries = rng.permutation(queries)  # the same order in every session

    def page(
        self,
        state: PageState,
        answer: Answer | None = None,
        *,
        picture: bytes | None = None,
        error: UserError | None = None,
    ) -> str:
        """The page as HTML. ``picture``: PNG of an image that was sent; ``error``: what was wrong,
        shown above the form."""
        modality = self.cache.card.modality(state.direction[0])
        return page(
            "search.html",
            search=self.search,
            card=self.cache.card,
            gallery=len(self.search.rows),
            n_queries=len(self.queries),
            state=state,
            directions=[
                (arrow(d, self.sensors), replace(state, direction=d).address, d == state.direction)
                for d in self.search.directions
            ],
            here=arrow(state.direction, self.sensors),
            modality=modality,
            units="" if modality.units == "-" else modality.units,
            endings=", ".join(ENDINGS),
            tops=sorted({*TOPS, state.top}),
            offered=self._offered(),
            examples=[] if answer else self._examples(state),
            more=replace(state, query="", examples=state.examples + 1).address,
            answer=answer and self._answer(state, answer, picture),
            error=error,
            file=Path(error.where).name if error and error.where else "",
            alone=False,
            up="/",
        )  # fmt: skip

    def _offered(self) -> list[str]:
        return sorted(self.cache.ids[self.queries[:_OFFERED]].tolist())

    def _examples(self, state: PageState) -> list[dict[str, Any]]:
        """Some queries of the protocol, drawn by a fixed seed, and others behind them."""
        n = len(self.queries)
        rows = [
            int(self.queries[(state.examples * _EXAMPLES + k) % n])
            for k in range(min(_EXAMPLES, n))
        ]
        return [self._pair(row, state.direction[0], state, state.direction) for row in rows]

    def _pair(self, row: int, modality: str, state: PageState, direction: str) -> dict[str, Any]:
        name = str(self.cache.ids[row])
        return {
            "id": name,
            "labels": label_names(self.cache, row),
            "image": f"/image/{modality}/{row}.png",
            "sensor": self.sensors[modality],
            "address": PageState(direction, name, state.top).address,
        }

    def _answer(self, state: PageState, answer: Answer, picture: bytes | None) -> dict[str, Any]:
        query, item = answer.direction[0], answer.direction[1]
        onward = _ONWARD[answer.direction]
        onward = onward if onward in self.search.directions else state.direction
        shown = None
        if answer.query_row is not None:
            shown = f"/image/{query}/{answer.query_row}.png"
        elif picture is not None:
            shown = "data:image/png;base64," + base64.b64encode(picture).decode()
        known = [hit.right for hit in answer.items if hit.right is not None]
        return {
            "result": answer,
            "image": shown,
            "sensor": self.sensors[query],
            "shown": channel_words(self.cache),
            "item_sensor": self.sensors[item],
            "onward": arrow(onward, self.sensors),
            "right": sum(known) if known else None,
            "rule": relevance_words(self.cache),
            "hits": [
                {**self._pair(hit.row, item, state, onward), **self._judged(hit, answer)}
                for hit in answer.items
            ],
        }

    def _judged(self, hit: Hit, answer: Answer) -> dict[str, Any]:
        mark = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("", "")}[hit.right]
        return {
            "hit": hit,
            "word": mark[0],
            "sign": mark[1],
            "pair": hit.row == answer.query_row,
            "shared": [label for label in hit.labels if label in answer.query_labels],
        }
