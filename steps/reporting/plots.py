"""The plots of the page: SVG, byte-stable, in colours that the colour-blind can tell apart."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from quantctl.steps.reporting.facts import Facts

# Okabe and Ito (2008)
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b7280"
MOST_BARS = 25
MOST_POINTS = 160
STYLE: Any = {
    "svg.hashsalt": "quantctl", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9ca3af",
    "xtick.color": "#374151", "ytick.color": "#374151", "axes.grid": False,
}  # fmt: skip


def draw(facts: Facts) -> dict[str, str]:
    """SVG text by name of the plot. Needs matplotlib; its global state is left as it was."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return {name: _svg(facts, paint, rows) for name, paint, rows in _plots(facts)}


def _plots(facts: Facts) -> list[tuple[str, Callable[[Any, Facts], None], int]]:
    return [
        ("weights", _weights, min(len(facts.positions), MOST_BARS)),
        ("risk", _risk, min(len(facts.risk), MOST_BARS)),
        ("funnel", _funnel, len(facts.funnel)),
        ("streams", _streams, 14),
        ("clusters", _clusters, min(len(facts.clusters), MOST_BARS)),
        ("regime", _regime, len(facts.regime.components)),
    ]


def _svg(facts: Facts, paint: Callable[[Any, Facts], None], rows: int) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 1.0 + 0.2 * max(rows, 4)), layout="constrained")
    canvas: Any = FigureCanvasSVG(figure)
    paint(figure.add_subplot(), facts)
    buffer = io.StringIO()
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _bars(
    axes: Any, names: Sequence[str], values: Sequence[float], colours: Sequence[str], form: str
) -> None:
    """Horizontal bars, first on top, each with its number."""
    places = range(len(names))
    bars = axes.barh(places, values, color=colours, height=0.72)
    axes.bar_label(bars, [format(value, form) for value in values], padding=3, fontsize=7.5, color="#374151")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.axvline(0.0, color="#9ca3af", linewidth=0.8)
    axes.margins(x=0.18)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _weights(axes: Any, facts: Facts) -> None:
    rows = facts.positions[:MOST_BARS]
    colours = [ORANGE if net < 0 else BLUE for _, net, _, _ in rows]
    _bars(axes, [row[0] for row in rows], [row[1] for row in rows], colours, "+.1%")


def _risk(axes: Any, facts: Facts) -> None:
    rows = facts.risk[:MOST_BARS]
    _bars(axes, [row[0] for row in rows], [row[2] for row in rows], [GREEN] * len(rows), ".1%")
    axes.plot([row[1] for row in rows], range(len(rows)), "o", color=GREY, markersize=3)


def _funnel(axes: Any, facts: Facts) -> None:
    names = [name for name, _ in facts.funnel]
    _bars(axes, names, [count for _, count in facts.funnel], [BLUE] * len(names), ",.0f")


def _streams(axes: Any, facts: Facts) -> None:
    step = max(1, len(facts.dates) // MOST_POINTS)
    dates = facts.dates[::-1][::step][::-1]
    for _, path in sorted(facts.streams.items()):
        axes.plot(dates, path[::-1][::step][::-1], color=GREY, linewidth=0.6, alpha=0.35)
    axes.plot(dates, facts.growth[::-1][::step][::-1], color=BLUE, linewidth=2.0)
    axes.axhline(1.0, color="#9ca3af", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("growth of 1, log scale")


def _clusters(axes: Any, facts: Facts) -> None:
    rows = facts.clusters[:MOST_BARS]
    names = [f"{key}  (mean rho {rho:.2f})" for key, _, rho in rows]
    _bars(axes, names, [size for _, size, _ in rows], [BLUE] * len(rows), ".0f")


def _regime(axes: Any, facts: Facts) -> None:
    items = facts.regime.components
    values = [item.contribution for item in items.values()]
    _bars(axes, list(items), values, [ORANGE if value > 0 else BLUE for value in values], "+.2f")
