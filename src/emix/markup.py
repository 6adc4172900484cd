"""Tables as HTML and Markdown, in which text is escaped and nothing is fetched from anywhere, and as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

TABLE = "border-collapse:collapse;margin:0.4em 0;font-size:90%;font-variant-numeric:tabular-nums"
CELL = "padding:0.1em 0.7em;text-align:"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A compact table; the first column to the left, numbers to the right.

    Parameters
    ----------
    head : sequence of str
        Titles of the columns; without one no line of them is written.
    rows : sequence of sequence of str
        Cells in words, each row as long as the others.
    caption : str, optional
        What the table shows.
    """
    lines = [f'<table style="{TABLE}">']
    if caption:
        style = "caption-side:top;text-align:left;font-weight:bold;white-space:normal"
        lines.append(f'<caption style="{style}">{escape(caption)}</caption>')
    if any(head):
        lines.append(f"<thead>{_html_row(head, 'th')}</thead>")
    lines += ["<tbody>", *(_html_row(row, "td") for row in rows), "</tbody></table>"]
    return "\n".join(lines)


def _html_row(cells: Sequence[str], tag: str) -> str:
    sides = ["left", *["right"] * (len(cells) - 1)]
    written = (f'<{tag} style="{CELL}{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True))
    return f"<tr>{''.join(written)}</tr>"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as plain text: the first column to the left, numbers to the right, words at the end to the left."""
    lines = [head, *rows] if any(head) else list(rows)
    widths = [max((len(line[j]) for line in lines), default=0) for j in range(len(head))]
    last = len(head) - 1 if not head[-1] else len(head)  # an untitled last column holds remarks
    written = (
        "  ".join(line[j].rjust(width) if 0 < j < last else line[j].ljust(width) for j, width in enumerate(widths))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in written)


def html_text(text: str) -> str:
    """A paragraph."""
    return f'<p style="margin:0.3em 0">{escape(text)}</p>'


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for Markdown: a line of titles is required there, and may be empty."""
    lines = [_markdown_row(head), "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *(_markdown_row(row) for row in rows)])


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(markdown_text(cell) for cell in cells)} |"


def markdown_text(text: str) -> str:
    """Text in which nothing is read as a mark: `a|b` and `p_1` stay what they are."""
    escaped = "".join(f"\\{c}" if c in "\\|*_`[]#~" else c for c in text)
    return escape(escaped, quote=False).replace("\n", " ")
