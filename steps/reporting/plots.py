"""The plots of the page: SVG, byte-stable, in colours that the colour-blind can tell apart."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

from quantctl.steps.reporting.facts import Facts, Floats

# Okabe and Ito (2008)
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b7280"
PALETTE = (BLUE, "#E69F00", GREEN, ORANGE, "#CC79A7", "#56B4E9", "#7f7f7f", "#000000")
MOST_BARS = 30
MOST_POINTS = 160
MOST_STREAMS = 60
FOOT = 0.4  # inches below the correlation plot
MOST_CELLS = 80  # atoms of the correlation plot that get a name
STYLE: Any = {
    "svg.hashsalt": "quantctl", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9ca3af",
    "xtick.color": "#374151", "ytick.color": "#374151", "axes.labelcolor": "#374151", "axes.linewidth": 0.8,
}  # fmt: skip
_ALONE = threading.Lock()


def draw(facts: Facts) -> dict[str, str]:
    """SVG text by name of the plot. Needs matplotlib; its global state is left as it was.

    One at a time: the style is the whole process's, and another run that ended its own drawing meanwhile
    would take it away.
    """
    import matplotlib as mpl

    with _ALONE, mpl.rc_context(STYLE):
        bars = min(len(facts.risk), MOST_BARS)
        return {
            "growth": _svg(
                _growth(facts), (11.2, 4.6), "Growth and drawdown of each risk profile, in sample"
            ),
            "correlation": _svg(
                _correlation(facts), (5.4, _height(facts)), "Correlation of streams, by cluster"
            ),
            "risk": _svg(
                _risk(facts), (5.4, 0.5 + 0.19 * max(bars, 4)), "Weight and share of variance per atom"
            ),
            "regime": _svg(_regime(facts), (5.4, 0.5 + 0.26 * len(facts.regime.components)), "Regime score"),
        }


def _svg(paint: Callable[[Any], None], size: tuple[float, float], title: str) -> str:
    """One figure without time, foreign addresses or ids that another figure could share."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    canvas: Any = FigureCanvasSVG(figure)
    paint(figure)
    buffer = io.StringIO()
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _thin(path: Sequence[Any] | Floats) -> Any:
    """At most about `MOST_POINTS` of a path, the last always among them."""
    return path[::-1][:: max(1, len(path) // MOST_POINTS)][::-1]


def _growth(facts: Facts) -> Callable[[Any], None]:
    def paint(figure: Any) -> None:
        upper, lower = figure.subplots(
            2, 1, sharex=True,
            gridspec_kw={"height_ratios": [3, 1], "hspace": 0.08, "left": 0.085, "right": 0.84, "top": 0.98,
                         "bottom": 0.07},
        )  # fmt: skip
        dates, streams = _thin(facts.dates), sorted(facts.streams.items())
        for _, path in streams[:MOST_STREAMS]:
            upper.plot(dates, _thin(path), color="#9ca3af", linewidth=0.5, alpha=0.45)
        ends = []
        for k, profile in enumerate(p for p in facts.profiles if len(p.growth)):
            colour, dash = PALETTE[k % len(PALETTE)], "-" if k < len(PALETTE) else "--"
            bold = 2.4 if profile.name == facts.primary else 1.2
            upper.plot(dates, _thin(profile.growth), dash, color=colour, linewidth=bold)
            peak = np.maximum.accumulate(np.maximum(profile.growth, 1.0))
            lower.plot(
                dates, _thin(100 * (profile.growth / peak - 1)), dash, color=colour, linewidth=bold / 2
            )
            ends.append((float(profile.growth[-1]), profile.name, colour))
        upper.set_yscale("log")
        _log_axis(upper)
        _name_ends(upper, ends, facts.primary)
        lower.set_ylabel("drawdown, %")
        for axes in (upper, lower):
            axes.axvline(facts.chosen_from, color="#6b7280", linewidth=0.9, linestyle=":")
            axes.grid(axis="y", color="#e5e7eb", linewidth=0.6)
            axes.margins(x=0.0)

    return paint


def _log_axis(axes: Any) -> None:
    """Plain multiples of the first value, at 1, 2, 5 times powers of ten, or finer in a narrow range."""
    low, high = axes.get_ylim()
    steps = (
        (1.0, 2.0, 5.0) if high / low > 6 else (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    )
    ticks = [
        step * 10.0**power for power in range(-4, 7) for step in steps if low <= step * 10.0**power <= high
    ]
    axes.set_yticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.axhline(1.0, color="#6b7280", linewidth=0.8)
    axes.set_ylabel("value of 1 invested, log scale")


def _name_ends(axes: Any, ends: list[tuple[float, str, str]], primary: str) -> None:
    """Names of the curves beside their last value, moved apart where they would overlap."""
    low, high = np.log(axes.get_ylim())
    ends = sorted(ends)
    wanted = [(float(np.log(value)) - low) / (high - low) for value, _, _ in ends]
    for (value, name, colour), place in zip(ends, _apart(wanted, 0.058), strict=True):
        weight = "bold" if name == primary else "normal"
        text = f"{name}  {100 * (value - 1):+.0f} %"
        axes.text(1.01, place, text, transform=axes.transAxes, color=colour, va="center", fontweight=weight)


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places moved up to stand `gap` apart, then down again so that none is above 0.98."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    for k in range(len(moved) - 1, -1, -1):
        moved[k] = min(moved[k], 0.98 - gap * (len(moved) - 1 - k))
    return moved


def _margin(facts: Facts) -> float:
    """Share of the width that the names beside the correlation plot need."""
    if len(facts.ordered) > MOST_CELLS:
        return 0.04
    return 0.03 + 0.014 * max((len(facts.labels[name]) for name in facts.ordered), default=0)


def _height(facts: Facts) -> float:
    """Height of the correlation plot in inches: a square of cells and a colour scale."""
    return 5.4 * (0.98 - _margin(facts)) + FOOT + 0.05


def _correlation(facts: Facts) -> Callable[[Any], None]:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("quantctl", [ORANGE, "#ffffff", BLUE])

    def paint(figure: Any) -> None:
        left, high = _margin(facts), _height(facts)
        axes = figure.add_axes((left, FOOT / high, 0.98 - left, 1.0 - (FOOT + 0.05) / high))
        drawn = axes.imshow(facts.correlation, cmap=colours, vmin=-1, vmax=1, interpolation="none")
        labels = [facts.cluster_of[name] for name in facts.ordered]
        for k in range(1, len(labels)):
            if labels[k] != labels[k - 1]:
                axes.axhline(k - 0.5, color="#111827", linewidth=0.7)
                axes.axvline(k - 0.5, color="#111827", linewidth=0.7)
        size = min(8.0, 210.0 / max(len(labels), 1))
        names = [facts.labels[name] for name in facts.ordered] if len(facts.ordered) <= MOST_CELLS else []
        axes.set_yticks(range(len(names)), names, fontsize=size)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        strip = figure.add_axes((left, 0.24 / high, 0.98 - left, 0.07 / high))
        bar = figure.colorbar(drawn, cax=strip, orientation="horizontal")
        bar.set_ticks([-1, -0.5, 0, 0.5, 1])
        bar.ax.tick_params(labelsize=7.5, length=2)
        bar.outline.set_visible(False)

    return paint


def _bars(
    figure: Any,
    names: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    form: str,
    past: Sequence[float] = (),
) -> Any:
    """Horizontal bars, first on top, each with its number beyond `past` too; returns the axes."""
    left = 0.03 + 0.0155 * max((len(name) for name in names), default=0)
    axes = figure.add_axes((left, 0.02, 0.93 - left, 0.96))
    places = range(len(names))
    axes.barh(places, values, color=colours, height=0.7)
    span = max((abs(value) for value in values), default=1.0) or 1.0
    for place, value, mark in zip(places, values, past or values, strict=True):
        gap, side = (0.02 * span, "left") if value >= 0 else (-0.015 * span, "right")
        end = max(value, mark) if value >= 0 else value
        text = format(value, form)
        axes.text(end + gap, place, text, va="center", ha=side, fontsize=8, color="#374151")
    axes.set_yticks(places, names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    low, high = min(values, default=0.0), max((*values, *past), default=0.0)
    axes.set_xlim(min(0.0, low - 0.22 * span), max(0.0, high + 0.18 * span))
    axes.axvline(0.0, color="#9ca3af", linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    return axes


def _risk(facts: Facts) -> Callable[[Any], None]:
    def paint(figure: Any) -> None:
        rows = facts.risk[:MOST_BARS]
        names = [facts.labels[atom] for atom, _, _ in rows]
        shares, weights = [100 * share for _, _, share in rows], [100 * weight for _, weight, _ in rows]
        axes = _bars(figure, names, shares, [BLUE] * len(rows), ".1f", weights)
        axes.plot(
            weights, range(len(rows)), "D", color="#E69F00", markersize=3.6, markeredgecolor="#ffffff",
            markeredgewidth=0.6,
        )  # fmt: skip

    return paint


def _regime(facts: Facts) -> Callable[[Any], None]:
    def paint(figure: Any) -> None:
        items = facts.regime.components
        values = [item.contribution for item in items.values()]
        names = [name.replace("_", " ") for name in items]
        _bars(figure, names, values, [ORANGE if value > 0 else BLUE for value in values], "+.3f")

    return paint
