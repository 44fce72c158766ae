"""Tables and boards as LaTeX: booktabs, everything escaped, every definition under its table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from crbench.board.published import COMPARABLE, PublishedTable
from crbench.board.tables import Board, Table, TableCell, measured_table, published_table

_HEAD = r"""
% Made by `crbench leaderboard` from run records and published tables; do not edit by hand.
% In the preamble: \usepackage[T1]{fontenc}, \usepackage[utf8]{inputenc}, \usepackage{booktabs}.
% Rows of one table share data, cache and protocol. Numbers from different tables do not compare.
"""

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


def _latex_note(text: str) -> str:
    """As ``latex_text``, with what stands between backticks in a typewriter face."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(
        rf"\texttt{{{latex_text(part)}}}" if odd % 2 else latex_text(part)
        for odd, part in enumerate(parts)
    )


def latex_label(*parts: str) -> str:
    """A label of plain letters, e.g. ``tab:ben-14k-f1-5``."""
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(part for part in parts if part).lower())
    return f"tab:{slug.strip('-')}"


def board_latex(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """All tables, each a float of its own with a label; notes stand under each board's first."""
    parts = [_HEAD.lstrip()]
    for board in boards:
        dataset, scale, digest, protocol = board.key
        about = (dataset, "" if scale == "default" else scale, digest[:8], protocol)
        first = latex_label(*about, board.metrics[0])
        for metric in board.metrics:
            table = measured_table(board, metric)
            label = latex_label(*about, metric)
            see = [rf"Notes as under Table~\ref{{{first}}}."] if label != first else None
            parts.append(latex_table(table, f"{board.title}. {table.title}.", label, see))
        if (probes := board.probes) is not None:
            caption = f"{board.title}. {probes.title}."
            parts.append(latex_table(probes, caption, latex_label(*about, "probe")))
    for printed in published:
        table = published_table(printed)
        whys = dict.fromkeys((row.comparable, row.why) for row in printed.rows)
        sources = "; ".join(dict.fromkeys(row.source for row in printed.rows))
        notes = [f"Printed by others, not measured here, in percent as printed. Source: {sources}."]
        notes += [f"Comparable `{flag}`: {COMPARABLE[flag]} ({why})." for flag, why in whys]
        table = replace(table, columns=table.columns[:-1], notes=tuple(notes))  # without the source
        label = latex_label(printed.dataset, printed.heading, "published")
        parts.append(latex_table(table, f"{printed.dataset}. {table.title}.", label))
    return "\n".join(parts)


def latex_table(table: Table, caption: str, label: str, notes: Sequence[str] | None = None) -> str:
    """A float around a tabular; ``notes`` replace those of the table and are LaTeX already."""
    heads = [column.head for column in table.columns] + ["marks"] * table.marked
    last = "l" if table.marked or table.columns[-1].sort == "text" else "r"
    body, previous = [], table.rows[0].kind
    for row in table.rows:
        body += [r"\midrule"] if row.kind != previous else []
        previous = row.kind
        cells = map(_latex_cell, row.cells[: len(table.columns) - 1])
        marks = [latex_text("; ".join(row.marks))] * table.marked
        body.append(" & ".join([latex_text(row.name), *cells, *marks]) + r" \\")
    lines = "\n".join(body)
    under = "\n".join(
        rf"\item {note}" for note in (map(_latex_note, table.notes) if notes is None else notes)
    )
    return rf"""\begin{{table*}}[p]
\centering
\caption{{{latex_text(caption)}}}
\label{{{label}}}
\footnotesize
\setlength{{\tabcolsep}}{{4pt}}
\begin{{tabular}}{{l{"r" * (len(heads) - 2)}{last}}}
\toprule
{" & ".join(map(latex_text, heads))} \\
\midrule
{lines}
\bottomrule
\end{{tabular}}

\begin{{minipage}}{{\linewidth}}
\tiny\raggedright
\begin{{itemize}}
\setlength{{\itemsep}}{{0pt}}\setlength{{\parskip}}{{0pt}}
{under}
\end{{itemize}}
\end{{minipage}}
\end{{table*}}
"""


def _latex_cell(cell: TableCell) -> str:
    value = latex_text(cell.text)
    text = rf"\textbf{{{value}}}" if cell.best else value
    text += rf" {{\scriptsize$\pm${cell.spread}}}" if cell.spread else ""
    text += latex_text(cell.signs)
    below = "".join(rf"\\{{\tiny {latex_text(line)}}}" for line in cell.lines)
    return rf"\shortstack[r]{{{text}{below}}}" if below else text
