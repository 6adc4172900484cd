"""Axes, colours and marks that all pictures share. Matplotlib is imported here, when the first picture is asked for.

Colours are those of Okabe & Ito (2008), Color Universal Design, that a colour-blind reader tells apart; a component
also has a marker, a line style and a hatch of its own, for print in grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from emix.errors import FileError, ModelError
from emix.fitting.use import named as named
from emix.inference.frames import component_column
from emix.model import Mixture
from emix.results import mixture_of as mixture_of
from emix.results import result_of as result_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5C4A00", "#7A1C5C")
"""Six of Okabe and Ito, and an umber and a plum for their yellow and black, which are lost on paper and among text. Any
two are 19 or more apart in CIELAB also to those who see no red or no green, as the first six are."""
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "p", "h")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "oo")
NOISE = "#777777"
INK, PALE = "#222222", "#D9D9D9"
SMALLEST, SMALL, NORMAL = 7, 8, 9.5
"""Font sizes, in points: legible in a column of print."""
MOST_NAMED = 8
"""Entries that a legend lists within the Axes; more stand beside them, and more than twice as many in two columns."""


def pyplot() -> Any:
    """Matplotlib's pyplot.

    Raises
    ------
    FileError
        Matplotlib is not installed.
    """
    try:
        import matplotlib.patheffects
        import matplotlib.pyplot
    except ModuleNotFoundError as error:
        raise FileError.no_extra(package="matplotlib", extra="plot") from error
    return matplotlib.pyplot


def axes(ax: Axes | None, size: tuple[float, float] = (6.4, 3.8)) -> Axes:
    """The Axes that were given, or those of a new figure of this size, in inches."""
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    elif not hasattr(ax, "plot") or not hasattr(ax, "figure"):
        raise ModelError.argument(name="ax", requirement="Axes of Matplotlib, or None", found=ax)
    plain(ax)
    return ax


def plain(ax: Axes) -> None:
    """No box, quiet ticks, labels of one size."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#888888")
    ax.tick_params(labelsize=SMALL, color="#888888", labelcolor=INK)
    ax.xaxis.label.set_fontsize(NORMAL)
    ax.yaxis.label.set_fontsize(NORMAL)


def entitle(ax: Axes, title: str, notes: Iterable[str] = ()) -> None:
    """A title, and below it in small print what is not shown and why."""
    notes = [note for note in notes if note]
    ax.set_title(title, fontsize=NORMAL + 1, loc="left", color=INK, pad=18 if notes else 7)
    if notes:
        text = "; ".join(notes)
        ax.text(0, 1, text, transform=ax.transAxes, fontsize=SMALL, color="#555555", va="bottom", ha="left")


def legend(ax: Axes, *, beside: bool = False, **options: Any) -> None:
    """Of what has a label; beside the Axes where it would hide what they show."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    place: dict[str, Any] = {"loc": "best", "ncols": 1 + (len(handles) > 2 * MOST_NAMED)}
    if beside or len(handles) > MOST_NAMED:
        place |= {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    found = ax.legend(handles, labels, fontsize=SMALL, frameon=False, **(place | options))
    for line in found.get_lines():
        line.set_alpha(1)


def haloed(width: float) -> list[Any]:
    """A white rim for lines that lie over points."""
    return [pyplot().matplotlib.patheffects.withStroke(linewidth=width, foreground="white")]


# -- components --------------------------------------------------------------------------------------------------------


def is_noise(model: Mixture, k: int) -> bool:
    """Whether this component is the uniform one."""
    return model.has_noise and k == model.latent_size - 1


def colour(model: Mixture, k: int) -> str:
    """Of a component."""
    return NOISE if is_noise(model, k) else COLOURS[k % len(COLOURS)]


def marker(model: Mixture, k: int) -> str:
    """Of a component's rows."""
    return "." if is_noise(model, k) else MARKERS[k % len(MARKERS)]


def line(model: Mixture, k: int) -> Any:
    """Style of a component's line."""
    return ":" if is_noise(model, k) else LINES[k % len(LINES)]


def hatch(model: Mixture, k: int) -> str:
    """Of a component's areas."""
    return "" if is_noise(model, k) else HATCHES[k % len(HATCHES)]


def name(model: Mixture, k: int) -> str:
    """Of a component."""
    return literal(component_column(model, k))


def short_name(model: Mixture, k: int, limit: int = 24) -> str:
    """Where there is little room: its number, or its own name."""
    text = component_column(model, k)
    return str(k) if text == f"component {k}" else clipped(text, limit)


def clipped(text: str, limit: int = 24) -> str:
    """A name that does not push everything else aside."""
    return literal(text if len(text) <= limit else text[: limit - 1] + "\u2026")


def literal(text: str) -> str:
    """A user's text as it is: Matplotlib would read what stands between two dollars as a formula."""
    return text.replace("$", r"\$")
