"""The report as Markdown: the same figures as the page, readable in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from quantctl.steps.reporting.facts import Facts

WALK_FORWARD = (
    "Walk-forward is off (`backtest.enabled: false`) until the simulation exists. Every figure of risk and "
    "return here is in-sample: the weights were chosen on returns that they are measured on."
)
SIMULATED = "The data are simulated: they come from the built-in market, not from an exchange."


def markdown(facts: Facts) -> str:
    """Every section, with aligned tables; numbers carry their unit in the header of the column."""
    parts = [
        _head(facts), _funnel(facts), _winners(facts), _clusters(facts), _regime(facts), _profiles(facts),
        _positions(facts), _risk(facts), _conditioning(facts), _warnings(facts),
        ["## Walk-forward", "", WALK_FORWARD],
    ]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: str) -> list[str]:
    """A Markdown table with padded cells; `numbers` has `r` for each column flush right, else `l`."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[k]) for row in cells)) for k in range(len(header))]
    lines = [
        "| " + " | ".join(
            text.rjust(width) if side == "r" else text.ljust(width)
            for text, width, side in zip(row, widths, numbers, strict=True)
        ) + " |"
        for row in cells
    ]  # fmt: skip
    marks = ("-" * (w - 1) + ":" if side == "r" else "-" * w for w, side in zip(widths, numbers, strict=True))
    return [lines[0], "| " + " | ".join(marks) + " |", *lines[1:]]


def number(value: float | None, form: str) -> str:
    """`value` in `form`, or a dash where it is undefined."""
    return "–" if value is None else format(value, form)


def percent(value: float | None, form: str = ".1f") -> str:
    """A share as a number of percent, without the sign of percent."""
    return number(None if value is None else 100.0 * value, form)


def _head(facts: Facts) -> list[str]:
    run, window, per_year = facts.run, facts.window, f"{facts.run.annualisation} per year"
    lines = [
        f"# Forensic report: {run.profile}", "", f"- run `{run.run_id}`, as of {run.as_of}",
        f"- snapshot `{run.snapshot}`, manifest `{run.manifest_sha256[:12]}`, trace `{run.trace_id}`",
        f"- returns {window['first']} to {window['last']}: {window['sessions']} sessions, {per_year}",
        f"- {len(facts.streams)} atoms over {len(facts.dates)} rows; leading risk profile `{facts.primary}`",
    ]  # fmt: skip
    return lines + (["", f"**{SIMULATED}**"] if facts.simulated else [])


def _funnel(facts: Facts) -> list[str]:
    steps = table(["step", "count"], [[name, f"{count:,}"] for name, count in facts.funnel], "lr")
    lines = [
        "## From scan to winners",
        "",
        "Symbols in the scan, atoms (symbol, logic, direction) after it.",
        "",
    ]
    rows = [[place, code, kind, f"{count:,}"] for place, code, kind, count in facts.vetoes]
    stops = ["", *table(["stage", "rule", "class", "count"], rows, "lllr")] if rows else []
    return lines + steps + stops


def _winners(facts: Facts) -> list[str]:
    rows = [
        [str(w.rank), w.symbol, w.direction, w.logic, w.cluster, f"{w.alpha_score:.3g}",
        str(w.stage_admitted),
         f"{w.adv / 1e6:,.2f}"]
        for w in facts.winners
    ]  # fmt: skip
    header = ["rank", "symbol", "direction", "logic", "cluster", "alpha score", "rung", "turnover, M USD/day"]
    return ["## Winners", "", facts.relaxation, "", *table(header, rows, "rlllrrrr")]


def _clusters(facts: Facts) -> list[str]:
    rows = [[key, str(size), str(won), f"{rho:+.2f}"] for key, size, won, rho in facts.clusters]
    header = ["cluster", "pool symbols", "winners", "mean correlation"]
    return ["## Clusters of raw returns", "", *table(header, rows, "lrrr")]


def _regime(facts: Facts) -> list[str]:
    regime = facts.regime
    labels = f"**{regime.environment}**: regime {regime.regime}, quadrant {regime.quadrant}"
    rows = [
        [
            name,
            number(item.raw, ".4f"),
            f"{item.mu0:.4f}",
            number(item.z, "+.2f"),
            f"{item.contribution:+.3f}",
        ]
        for name, item in regime.components.items()
    ]
    header = ["component", "value", "of noise", "z", "adds to score"]
    hmm = "accepted" if regime.hmm.accepted else f"not accepted ({regime.hmm.reason})"
    mean, t = percent(regime.growth.ann, "+.1f"), number(regime.growth.t, "+.2f")
    growth = f"Mean return of the last rows {mean} % per year, t {t}"
    return [
        "## Regime", "", f"{labels}; score {regime.score:.3f} (noise reads about 1) over {regime.n} rows.",
        f"Hidden Markov model: {regime.hmm.state}, {hmm}.", f"{growth}.",
        "", *table(header, rows, "lrrrr"),
    ]  # fmt: skip


def _profiles(facts: Facts) -> list[str]:
    results, limits = [], []
    for p in facts.profiles:
        results.append([
            p.name, p.status, str(len(p.atoms)), number(p.effective, ".1f"), percent(p.largest),
            percent(p.vol), number(p.sharpe, "+.2f"), number(p.beta, "+.3f"), percent(p.gross),
            percent(p.net_exposure, "+.1f"), percent(p.cash),
        ])  # fmt: skip
        relaxed = "yes" if p.relaxed else "no"
        caps = [percent(p.cluster_cap), percent(p.weight_cap), relaxed]
        limits.append([p.name, *caps, number(p.kappa, ".1f"), p.reason or "–", p.chain or "–"])
    header = [
        "risk profile", "status", "atoms", "effective", "largest %", "vol % a year", "in-sample Sharpe",
        "beta", "gross %", "net %", "cash %",
    ]  # fmt: skip
    caps_header = [
        "risk profile", "cluster cap %", "weight cap %", "relaxed", "kappa", "reason", "fallback chain",
    ]  # fmt: skip
    lines = ["## Risk profiles", "", "Volatility is ex ante, of the risk model; Sharpe is in-sample.", ""]
    return [*lines, *table(header, results, "llrrrrrrrrr"), "", *table(caps_header, limits, "lrrlrll")]


def _positions(facts: Facts) -> list[str]:
    rows = [
        [a.Symbol, a.Direction, percent(a.Net_Weight, "+.2f"), percent(a.Weight, ".2f"), a.Cluster_ID or "–"]
        for a in facts.positions
    ]
    leading = facts.leading
    cash = "" if leading is None else f"Cash {percent(leading.cash, '.2f')} % of capital."
    header = ["symbol", "direction", "net %", "gross %", "cluster"]
    return [f"## Positions of {facts.primary}", "", cash, "", *table(header, rows, "llrrl")]


def _risk(facts: Facts) -> list[str]:
    rows = [[atom, percent(w, ".2f"), percent(share, ".2f")] for atom, w, share in facts.risk]
    header = ["atom", "weight %", "share of variance %"]
    return [f"## Risk contributions of {facts.primary}", "", *table(header, rows, "lrr")]


def _conditioning(facts: Facts) -> list[str]:
    model = facts.model
    before = number(model.kappa_before, ",.1f") if model.kappa_before is not None else "singular"
    limits = f"limit {model.kappa_limit:,.0f}, intensity {model.intensity:.4f}"
    return [
        "## Conditioning", "", f"Covariance {model.covariance}, shrinkage {model.shrinkage:.3f}.",
        f"Condition number of the correlation {before} before, {model.kappa_after:,.1f} after ({limits}).",
    ]  # fmt: skip


def _warnings(facts: Facts) -> list[str]:
    rows = [f"- {place}: {text}" for place, text in facts.warnings]
    return ["## Warnings", "", *(rows or ["None."])]
