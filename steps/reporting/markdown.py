"""The report as Markdown: the same figures as the page, readable in a terminal."""

from __future__ import annotations

from quantctl.steps.reporting.facts import Facts

WALK_FORWARD = (
    "Walk-forward is off: this version has no simulation yet. The curves are in-sample: the weights were "
    "chosen on the returns that they are drawn on, so they show what was held, not what to expect."
)


def markdown(facts: Facts) -> str:
    """Sections run, regime, funnel, positions, risk and risk profiles."""
    parts = [
        _head(facts), _regime(facts), _funnel(facts), _positions(facts), _risk(facts), _profiles(facts),
        ["## Walk-forward", "", WALK_FORWARD],
    ]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(facts: Facts) -> list[str]:
    run = facts.run
    return [
        f"# Forensic report: {run.profile}", "", f"Run `{run.run_id}`, as of {run.as_of}", "",
        f"- snapshot `{run.snapshot}`", f"- manifest `{run.manifest_sha256[:12]}`, trace `{run.trace_id}`",
        f"- {facts.atoms.height} atoms over {len(facts.dates)} bars, {run.annualisation} bars per year",
        f"- leading risk profile `{facts.primary}`",
    ]  # fmt: skip


def _regime(facts: Facts) -> list[str]:
    regime = facts.regime
    labels = f"**{regime.environment}**: regime {regime.regime}, quadrant {regime.quadrant}"
    lines = ["## Regime", "", f"{labels}, score {regime.score:.3f} (noise reads about 1), {regime.n} rows."]
    if regime.components:
        lines += ["", "| component | z | contribution |", "|---|---:|---:|"]
    for name, item in regime.components.items():
        z = "undefined" if item.z is None else f"{item.z:+.2f}"
        lines.append(f"| {name} | {z} | {item.contribution:+.3f} |")
    if regime.warnings:
        lines += ["", f"Warnings: {', '.join(regime.warnings)}."]
    return lines


def _funnel(facts: Facts) -> list[str]:
    lines = ["## From scan to winners", "", "| step | count |", "|---|---:|"]
    lines += [f"| {name} | {count} |" for name, count in facts.funnel]
    if facts.vetoes:
        lines += ["", "| veto | atoms |", "|---|---:|"]
        lines += [f"| {code} | {count} |" for code, count in facts.vetoes]
    return lines


def _positions(facts: Facts) -> list[str]:
    lines = [
        f"## Positions of {facts.primary}",
        "",
        "| symbol | direction | net | gross |",
        "|---|---|---:|---:|",
    ]
    return lines + [
        f"| {symbol} | {direction} | {net:+.2%} | {gross:.2%} |"
        for symbol, net, gross, direction in facts.positions
    ]


def _risk(facts: Facts) -> list[str]:
    lines = ["## Risk", "", "| atom | weight | share of variance |", "|---|---:|---:|"]
    return lines + [f"| {atom} | {weight:.2%} | {share:.2%} |" for atom, weight, share in facts.risk]


def _profiles(facts: Facts) -> list[str]:
    lines = [
        "## Risk profiles", "",
        "| profile | status | reason | atoms | largest | effective number | kappa | beta |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in facts.profiles:
        beta = "" if row["beta"] is None else f"{row['beta']:+.3f}"
        lines.append(
            f"| {row['name']} | {row['status']} | {row['reason']} | {row['n']} | {row['largest']:.2%} "
            f"| {row['effective']:.1f} | {row['kappa']:.1f} | {beta} |"
        )
    return lines
