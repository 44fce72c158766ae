"""Text as LaTeX: everything escaped, notes with their code, labels of plain letters."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LETTERS = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "→": r"$\to$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "≈": r"$^{\approx}$",
    "°": r"$^{\circ}$", "–": "--", "…": r"\dots{}", "·": r"$\cdot$", "√": r"$\sqrt{\ }$",
    "“": "``", "”": "''", "\n": " ",
})  # fmt: skip


def latex_text(text: str) -> str:
    """Plain text as LaTeX that prints it; letters beyond ASCII are left to the input encoding."""
    return text.translate(_LETTERS)


def latex_note(text: str) -> str:
    """As ``latex_text``, with what stands between backticks in a typewriter face."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(
        rf"\texttt{{{latex_text(part)}}}" if odd % 2 else latex_text(part)
        for odd, part in enumerate(parts)
    )


def latex_label(parts: Sequence[str]) -> str:
    """A label of plain letters, e.g. ``tab:ben-14k-f1-5``; parts may be empty."""
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower())
    return f"tab:{slug.strip('-')}"
