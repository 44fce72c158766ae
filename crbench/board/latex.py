"""Boards as LaTeX tables: booktabs, everything escaped, every definition under its table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crbench import words as names
from crbench.board.board import Board, Row, average
from crbench.board.probes import TITLE, probe_table
from crbench.board.published import COMPARABLE, PublishedTable
from crbench.board.text import PARAMS, cell_lines, date, name, params, percent, signs
from crbench.words import DIRECTIONS, arrow

HEAD = r"""
% Made by `crbench leaderboard` from run records and published tables; do not edit by hand.
% In the preamble: \usepackage[T1]{fontenc}, \usepackage[utf8]{inputenc}, \usepackage{booktabs}.
% Rows of one table share data, cache and protocol. Numbers from different tables do not compare.
"""

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "→": r"$\to$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "≈": r"$^{\approx}$",
    "°": r"$^{\circ}$", "–": "--", "…": r"\dots{}", "·": r"$\cdot$", "√": r"$\sqrt{\ }$",
    "“": "``", "”": "''", "\n": " ",
}  # fmt: skip


def escape(text: str) -> str:
    """Plain text as LaTeX that prints it; letters beyond ASCII are left to the input encoding."""
    return "".join(SIGNS.get(letter, letter) for letter in text)


def prose(text: str) -> str:
    """As ``escape``, with what stands between backticks in a typewriter face."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(
        rf"\texttt{{{escape(part)}}}" if odd % 2 else escape(part) for odd, part in enumerate(parts)
    )


def latex(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """All tables, each a float of its own with a label; notes stand under each board's first."""
    parts = [HEAD.lstrip()]
    for board in boards:
        notes = [prose(note) for note in (*board.notes, PARAMS)]
        for metric in board.metrics:
            parts.append(_measured(board, metric, notes))
            notes = [rf"Notes as under Table~\ref{{{_label(board, board.metrics[0])}}}."]
        if (probes := probe_table(board)) is not None:
            head, lines, said = probes
            body = [[escape(cell) for cell in line] for line in lines]
            title = f"{board.title}. {TITLE}."
            parts.append(_table(title, _label(board, "probe"), head, body, [prose(said)]))
    parts += [_published(table) for table in published]
    return "\n".join(parts)


def _label(board: Board, what: str) -> str:
    dataset, scale, digest, protocol = board.key
    return label("tab", dataset, "" if scale == "default" else scale, digest[:8], protocol, what)


def label(kind: str, *parts: str) -> str:
    """A label of plain letters, e.g. ``tab:ben-14k-f1-5``."""
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(part for part in parts if part).lower())
    return f"{kind}:{slug.strip('-')}"


def _measured(board: Board, metric: str, notes: Sequence[str]) -> str:
    head = ["method", *board.arrows(), "mean", "n", "params (M)", "date", "marks"]
    lines: list[list[str]] = []
    previous = board.rows[0].kind
    for row in board.rows:
        start = [r"\midrule" + "\n"] if row.kind != previous else [""]
        previous = row.kind
        lines.append(
            [
                start[0] + escape(name(row)),
                *(_cell(board, row, direction, metric) for direction in DIRECTIONS),
                escape(percent(average(row, metric))),
                str(row.n) if row.n else "--",
                escape(params(row)),
                escape(date(row)),
                escape("; ".join(row.marks)),
            ]
        )
    return _table(
        f"{board.title}. {names.title(metric)}, measured.",
        _label(board, metric), head, lines, notes, last="l",
    )  # fmt: skip


def _cell(board: Board, row: Row, direction: str, metric: str) -> str:
    top, below = cell_lines(row.cells.get((direction, metric)))
    value, _, spread = top.partition(" ± ")
    if (row.label, direction, metric) in board.best:
        value = rf"\textbf{{{escape(value)}}}"
    else:
        value = escape(value)
    text = value + (rf" {{\scriptsize$\pm${spread}}}" if spread else "")
    text += escape(signs(board, row, direction, metric))
    return rf"\shortstack[r]{{{text}\\{{\tiny {escape(below)}}}}}" if below else text


def _published(table: PublishedTable) -> str:
    head = ["method", *(arrow(d, table.sensors) for d in DIRECTIONS)]
    head += ["params (M)", "metric", "comparable"]
    lines = [
        [
            escape(row.method),
            *("--" if (v := row.values[d]) is None else f"{100 * v:.2f}" for d in DIRECTIONS),
            "--" if row.params_m is None else f"{row.params_m:.2f}",
            escape(names.title(row.metric)),
            escape(row.comparable),
        ]
        for row in table.rows
    ]
    sources = "; ".join(dict.fromkeys(row.source for row in table.rows))
    whys = dict.fromkeys((row.comparable, row.why) for row in table.rows)
    notes = [f"Printed by others, not measured here, in percent as printed. Source: {sources}."]
    notes += [f"Comparable `{flag}`: {COMPARABLE[flag]} ({why})." for flag, why in whys]
    return _table(
        f"{table.dataset}. {table.heading}, published.",
        label("tab", table.dataset, table.heading, "published"),
        head, lines, [prose(note) for note in notes], last="l",
    )  # fmt: skip


def _table(
    caption: str,
    where: str,
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    notes: Sequence[str],
    *,
    last: str = "r",
) -> str:
    """A float around a tabular; cells and notes are LaTeX already, caption and head are not."""
    columns = "l" + "r" * (len(head) - 2) + last
    body = "\n".join(" & ".join(line) + r" \\" for line in lines)
    under = "\n".join(rf"\item {note}" for note in notes)
    return rf"""\begin{{table*}}[p]
\centering
\caption{{{escape(caption)}}}
\label{{{where}}}
\footnotesize
\setlength{{\tabcolsep}}{{4pt}}
\begin{{tabular}}{{{columns}}}
\toprule
{" & ".join(escape(text) for text in head)} \\
\midrule
{body}
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
