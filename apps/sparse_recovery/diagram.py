"""Figure 1: ISTA as a loop, and LISTA as three of its rounds."""

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

# Half the side of a box, and the radius of a sum.
HALF, RADIUS = 0.32, 0.17


def block_diagrams():
    """Draws ISTA, and LISTA of three layers.

    Returns:
        The `matplotlib.figure.Figure`.
    """
    figure = Figure(figsize=(9.2, 4.4), dpi=120, layout="constrained")
    ista, lista = figure.subplots(2, 1, height_ratios=(1.25, 1))
    for ax, title in (
        (ista, "ISTA: one matrix S, one threshold, until it stands still"),
        (lista, "LISTA, three layers: B, S and the thresholds are trained"),
    ):
        ax.set_title(title, fontsize=10)
        ax.set(xlim=(-0.3, 11.3), aspect="equal")
        ax.axis("off")
    _ista(ista)
    _lista(lista)
    return figure


def _ista(ax):
    ax.set_ylim(-1.5, 0.8)
    _text(ax, 0, 0, "y")
    _box(ax, 2, 0, "B")
    _sum(ax, 4, 0)
    _shrink(ax, 6, 0)
    _text(ax, 9, 0, "x")
    _box(ax, 5, -1.1, "S")
    _arrow(ax, (0.2, 0), (2 - HALF, 0))
    _arrow(ax, (2 + HALF, 0), (4 - RADIUS, 0))
    _arrow(ax, (4 + RADIUS, 0), (6 - HALF, 0))
    _arrow(ax, (6 + HALF, 0), (8.8, 0))
    ax.plot([7.6, 7.6], [0, -1.1], color="black", linewidth=1)
    _arrow(ax, (7.6, -1.1), (5 + HALF, -1.1))
    ax.plot([5 - HALF, 4], [-1.1, -1.1], color="black", linewidth=1)
    _arrow(ax, (4, -1.1), (4, -RADIUS))


def _lista(ax):
    ax.set_ylim(-1.5, 0.6)
    _text(ax, 0, -1.1, "y")
    _box(ax, 1, -1.1, "B")
    _arrow(ax, (0.2, -1.1), (1 - HALF, -1.1))
    ax.plot([1 + HALF, 8.6], [-1.1, -1.1], color="black", linewidth=1)
    ax.plot([2, 2], [-1.1, 0], color="black", linewidth=1)
    _arrow(ax, (2, 0), (3 - HALF, 0))
    _shrink(ax, 3, 0, 1)
    place = 3
    for layer in (2, 3):
        _arrow(ax, (place + HALF, 0), (place + 1.3 - HALF, 0))
        _box(ax, place + 1.3, 0, "S")
        _arrow(ax, (place + 1.3 + HALF, 0), (place + 2.3 - RADIUS, 0))
        _sum(ax, place + 2.3, 0)
        _arrow(ax, (place + 2.3, -1.1), (place + 2.3, -RADIUS))
        _arrow(ax, (place + 2.3 + RADIUS, 0), (place + 3.3 - HALF, 0))
        _shrink(ax, place + 3.3, 0, layer)
        place += 3.3
    _arrow(ax, (place + HALF, 0), (10.8, 0))
    _text(ax, 11, 0, "x")


def _text(ax, x, y, text):
    ax.text(x, y, text, ha="center", va="center", fontsize=12, style="italic")


def _box(ax, x, y, text):
    corner = (x - HALF, y - HALF)
    style = "round,pad=0,rounding_size=0.06"
    ax.add_patch(
        FancyBboxPatch(corner, 2 * HALF, 2 * HALF, style, fc="#dce6f2", ec="black")
    )
    _text(ax, x, y, text)


def _shrink(ax, x, y, layer=None):
    """A box with the curve of soft thresholding, and its threshold's name above."""
    _box(ax, x, y, "")
    part = 0.22
    ax.plot(
        [x - part, x - part / 2, x + part / 2, x + part],
        [y - part, y, y, y + part],
        color="C3",
        linewidth=1.6,
    )
    name = r"$\theta$" if layer is None else rf"$\theta_{layer}$"
    ax.text(x, y + HALF + 0.17, name, ha="center", va="center", fontsize=10)


def _sum(ax, x, y):
    ax.add_patch(Circle((x, y), RADIUS, fc="white", ec="black"))
    ax.text(x, y - 0.02, "+", ha="center", va="center", fontsize=11)


def _arrow(ax, start, end):
    ax.annotate(
        "",
        end,
        start,
        arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0},
    )
