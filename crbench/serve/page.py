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

if TYPE_CHECKING:
    from crbench.archive.search import Answer, Search
    from crbench.errors import UserError

TOPS = (10, 20, 50, 100)
_EXAMPLES = 12  # queries shown to begin with
_OFFERED = 100  # ids that the field offers while one types


@dataclass(frozen=True)
class PageState:
    """A view of the page: what its address says. ``query`` is an id, or empty."""

    direction: str
    query: str = ""
    top: int = TOPS[1]
    examples: int = 0

    def address(self, **changes: Any) -> str:
        """The address that shows this view again, with ``changes`` of its fields."""
        fields = vars(replace(self, **changes))
        return "/?" + urlencode({key: value for key, value in fields.items() if value})


class Pages:
    """Writes the page of one opened run."""

    def __init__(self, search: Search) -> None:
        self.search, self.cache = search, search.cache
        self.first = PageState(search.default_direction)
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
        card, onward = self.cache.card, state.direction[::-1]  # to search on with a neighbour
        return page(
            "search.html",
            search=self.search,
            card=card,
            sensors={m: card.modality(m).name for m in ("a", "b")},
            modality=card.modality(state.direction[0]),
            state=state,
            onward=onward if onward in self.search.directions else state.direction,
            n_queries=len(self.queries),
            offered=sorted(self.cache.ids[self.queries[:_OFFERED]].tolist()),
            tops=sorted({*TOPS, state.top}),
            endings=", ".join(ENDINGS),
            examples=[] if answer else self._examples(state),
            answer=answer,
            known=[hit.right for hit in answer.items if hit.right is not None] if answer else [],
            picture=base64.b64encode(picture or b"").decode(),
            rule=relevance_words(self.cache),
            channels=channel_words(self.cache),
            error=error,
            file=Path(error.where).name if error and error.where else "",
            alone=False,
            up="/",
        )

    def _examples(self, state: PageState) -> list[tuple[int, str, list[str]]]:
        """Some queries of the protocol, drawn by a fixed seed, and others behind them: cache row,
        id and labels of each."""
        n = len(self.queries)
        first = state.examples * _EXAMPLES
        rows = [int(self.queries[(first + k) % n]) for k in range(min(_EXAMPLES, n))]
        return [(row, str(self.cache.ids[row]), label_names(self.cache, row)) for row in rows]
