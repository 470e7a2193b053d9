"""The report as one self-contained HTML page: light, printable, without a script or a foreign address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quantctl.steps.reporting.facts import Facts, symbol_labels
from quantctl.steps.reporting.markdown import SIMULATED, WALK_FORWARD, number, percent
from quantctl.steps.reporting.plots import MOST_BARS, MOST_STREAMS, draw

MOST_ROWS = 30
MOST_CLUSTERS = 12
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport"
content="width=device-width,initial-scale=1">
<title>{{ f.run.profile }} · {{ f.run.as_of }}</title>
<style>
*{box-sizing:border-box;print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{font:14px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:#111827;background:#f6f7f9;margin:0}
main{max-width:1200px;margin:auto;padding:2rem 1.5rem}
h1{font-size:1.7rem;letter-spacing:-.01em;margin:0}h2{font-size:1.02rem;margin:0 0 .7rem}
.sub,.note{color:#5b6472}.sub{margin:.15rem 0 1.2rem}.note{font-size:.83rem;margin:.6rem 0 0}
.banner{background:#fff4e0;border-left:4px solid #E69F00;padding:.5rem .9rem;margin:0 0
1rem;border-radius:4px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(125px,1fr));gap:.7rem;margin-bottom:1rem}
.facts div{background:#fff;border:1px solid #e3e6ea;border-radius:8px;padding:.55rem .9rem;color:#5b6472;
font-size:.8rem}.facts b{display:block;font-size:1.18rem;color:#111827;font-variant-numeric:tabular-nums}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem;align-items:start}
section{background:#fff;border:1px solid #e3e6ea;border-radius:8px;padding:1rem 1.2rem;overflow-x:auto}
.wide{grid-column:1/-1}.column{display:grid;gap:1rem}svg{display:block;width:100%;height:auto}
svg text{font-family:system-ui,-apple-system,"Segoe UI",sans-serif!important}
table{border-collapse:collapse;width:100%;font-size:.83rem}
th{text-align:left;color:#5b6472;font-weight:500;vertical-align:bottom}
td,th{padding:.24rem .55rem;border-bottom:1px solid #eef0f3;white-space:nowrap}
td:first-child,th:first-child{padding-left:0}.n{text-align:right;font-variant-numeric:tabular-nums}
.heat td{border:1px solid #fff;text-align:right;font-variant-numeric:tabular-nums;padding:.16rem .45rem}
.heat{table-layout:fixed}.heat th{white-space:normal}.heat th:first-child{width:17%}
.heat td:first-child{text-align:left}.lead{font-weight:650}.wrap{white-space:normal}
.bar{width:55%}.bar i{display:block;height:.8rem;background:#0072B2;border-radius:2px;min-width:1px}
.bar i.v{background:#E69F00}code{font-size:.87em;overflow-wrap:anywhere}ul{margin:0;padding-left:1.1rem}
@media(max-width:900px){.grid{grid-template-columns:1fr}}
@media print{body{background:#fff;font-size:11px}main{padding:0;max-width:none}section{break-inside:avoid}
@page{margin:12mm}}
</style></head><body><main>
<h1>{{ f.run.profile }}</h1>
<p class="sub">As of {{ f.run.as_of }} · run <code>{{ f.run.run_id }}</code> · snapshot
<code>{{ f.run.snapshot }}</code> · returns {{ f.window.first }} to {{ f.window.last }}</p>
{% if f.simulated %}<p class="banner">{{ simulated }}</p>{% endif %}
<div class="facts">{% for name, value in cards %}<div>{{ name }}<b>{{ value|replace("_", fold)
}}</b></div>{% endfor %}</div>
<div class="grid">
<section class="wide"><h2>Risk profiles: growth and drawdown, in sample</h2>{{ svg.growth|safe }}
<p class="note">Coloured: each risk profile, rebalanced daily, before costs (bold: {{ f.primary }}). Grey:
streams of
winners{% if f.streams|length > most_streams %}, {{ most_streams }} of {{ f.streams|length }}{% endif %}.
Dotted: first day of the
window that chose the weights. {{ walk_forward }}</p></section>
<section class="wide"><h2>Risk profiles</h2><table><thead><tr><th>profile</th><th>status</th>
<th class="n">atoms</th>
<th class="n">effective<br>number</th><th class="n">largest<br>%</th><th class="n">volatility<br>% a year</th>
<th class="n">Sharpe<br>in-sample</th><th class="n">beta</th><th class="n">gross<br>%</th>
<th class="n">net<br>%</th>
<th class="n">cash<br>%</th><th class="n">cluster<br>cap %</th><th class="n">weight<br>cap %</th>
<th>note</th></tr></thead>
{% for p in f.profiles %}<tr{% if p.name == f.primary %} class="lead"{% endif %}><td>{{ p.name }}</td>
<td>{{ p.status }}</td><td class="n">{{ p.atoms|length }}</td><td class="n">{{ num(p.effective, ".1f") }}</td>
<td class="n">{{ pct(p.largest) }}</td><td class="n">{{ pct(p.vol) }}</td>
<td class="n">{{ num(p.sharpe, "+.2f") }}</td>
<td class="n">{{ num(p.beta, "+.2f") }}</td><td class="n">{{ pct(p.gross) }}</td>
<td class="n">{{ pct(p.net_exposure, "+.1f") }}</td><td class="n">{{ pct(p.cash) }}</td>
<td class="n">{{ pct(p.cluster_cap) }}</td><td class="n">{{ pct(p.weight_cap) }}</td>
<td class="wrap">{{ note(p) }}</td></tr>{% endfor %}</table></section>
<section class="wide"><h2>Net weights by risk profile, % of capital</h2><table class="heat"><thead><tr>
<th>symbol</th>
{% for p in f.profiles %}
<th class="n{% if p.name == f.primary %} lead{% endif %}">{{ p.name|replace("_", fold)
}}</th>{% endfor %}</tr>
</thead>{% for symbol, cells in heat %}<tr><td>{{ symbol }}</td>{% for text, colour in cells %}<td
style="background:{{ colour }}">{{ text }}</td>{% endfor %}</tr>{% endfor %}</table>
<p class="note">Blue long, orange short, darker for larger; empty where a profile holds nothing.
{% if hidden %}{{ hidden }} smaller symbols are in the Markdown report.{% endif %}</p></section>
<section><h2>Correlation of streams, by cluster</h2>{{ svg.correlation|safe }}
<p class="note">Conditioned correlation as the optimiser used it: condition number
{{ "{:,.1f}".format(f.model.kappa_after) }}, limit {{ "{:,.0f}".format(f.model.kappa_limit) }}; lines part
clusters.</p>
</section>
<section><h2>Risk contributions of {{ f.primary }}, %</h2>{{ svg.risk|safe }}
<p class="note">Bar: share of the portfolio's variance. Diamond: weight.{% if f.risk|length > most_bars %}
The {{ most_bars }} largest of {{ f.risk|length }}.{% endif %}</p></section>
<div class="column"><section><h2>From scan to winners</h2><table>{% for name, count, share in funnel %}
<tr><td>{{ name }}</td><td class="n">{{ "{:,}".format(count) }}</td>
<td class="bar"><i style="width:{{ share }}%"></i>
</td></tr>{% endfor %}</table>
<p class="note">Symbols in the scan; atoms (symbol, logic, direction) after it.</p></section>
<section><h2>Regime: {{ f.regime.environment }}, score {{ "%.2f"|format(f.regime.score) }}</h2>{{
svg.regime|safe }}
<p class="note">What each component adds to the score; noise scores about 1. Regime {{ f.regime.regime }},
quadrant
{{ f.regime.quadrant }}, hidden Markov state {{ f.regime.hmm.state }}{% if not f.regime.hmm.accepted %} (not
accepted){% endif %}.</p></section></div>
<div class="column"><section><h2>What stopped the others</h2><table><thead><tr><th>stage</th><th>rule</th>
<th class="n">count</th><th></th></tr>
</thead>{% for place, code, count, share in vetoes %}<tr><td>{{ place }}</td><td>{{ code }}</td>
<td class="n">{{ "{:,}".format(count) }}</td>
<td class="bar" style="width:28%"><i class="v" style="width:{{ share }}%"></i>
</td></tr>{% endfor %}</table><p class="note">An atom counts once for each rule that it fails.</p></section>
<section><h2>Clusters of raw returns</h2><table><thead><tr><th>cluster</th><th class="n">pool symbols</th>
<th class="n">winners</th><th class="n">mean correlation</th></tr>
</thead>{% for key, size, won, rho in clusters %}
<tr><td>{{ key }}</td><td class="n">{{ size }}</td><td class="n">{{ won }}</td>
<td class="n">{{ "%+.2f"|format(rho) }}</td>
</tr>{% endfor %}</table>
{% if f.clusters|length > clusters|length %}
<p class="note">And {{ f.clusters|length - clusters|length }} clusters of
at most {{ clusters[-1][1] }} symbols.</p>{% endif %}</section></div>
<section class="wide"><h2>Winners</h2><p class="note" style="margin:0 0 .5rem">{{ f.relaxation }}</p>
<table><thead><tr>
<th class="n">rank</th><th>symbol</th><th>direction</th><th>logic</th><th class="n">cluster</th>
<th class="n">alpha score</th><th class="n">rung</th><th class="n">turnover, M USD a day</th></tr></thead>
{% for w in winners %}<tr><td class="n">{{ w.rank }}</td><td>{{ w.symbol }}</td><td>{{ w.direction }}</td>
<td>{{ w.logic }}</td><td class="n">{{ w.cluster }}</td><td class="n">{{ "%.3g"|format(w.alpha_score) }}</td>
<td class="n">{{ w.stage_admitted }}</td><td class="n">{{ "{:,.2f}".format(w.adv / 1e6) }}</td>
</tr>{% endfor %}</table>
</section>
{% if f.warnings %}<section class="wide"><h2>Warnings</h2><ul>{% for place, text in f.warnings %}
<li><b>{{ place }}</b> {{ text }}</li>{% endfor %}</ul></section>{% endif %}
</div>
<p class="note">Trace <code>{{ f.run.trace_id }}</code> · manifest <code>{{ f.run.manifest_sha256[:12]
}}</code></p>
</main></body></html>
"""


def page(facts: Facts) -> str:
    """The page; raises `ImportError` where the report extra is not installed."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    heat = _heat(facts)
    largest = max((count for _, count in facts.funnel), default=1) or 1
    most = max((row[3] for row in facts.vetoes), default=1)
    return environment.from_string(TEMPLATE).render(
        f=facts, svg=draw(facts), walk_forward=WALK_FORWARD.replace("`", ""), simulated=SIMULATED, num=number,
        pct=percent, note=_note, cards=_cards(facts), heat=heat[:MOST_ROWS], hidden=max(0,
        len(heat) - MOST_ROWS),
        funnel=[(name, count, f"{100 * count / largest:.2f}") for name, count in facts.funnel],
        vetoes=[(place, code, count, f"{100 * count / most:.2f}") for place, code, _, count in facts.vetoes],
        winners=sorted(facts.winners, key=lambda w: (w.direction, w.rank)), most_streams=MOST_STREAMS,
        clusters=facts.clusters[:MOST_CLUSTERS],
        most_bars=MOST_BARS, fold=Markup("_<wbr>"),
    )  # fmt: skip


def _cards(facts: Facts) -> list[tuple[str, str]]:
    lead = facts.leading
    return [
        ("leading profile", facts.primary), ("winners", f"{len(facts.winners)}"),
        ("positions", f"{len(facts.positions)}"),
        ("effective number", number(lead.effective if lead else None, ".1f")),
        ("ex-ante volatility", percent(lead.vol if lead else None) + " %"),
        ("in-sample Sharpe", number(lead.sharpe if lead else None, "+.2f")),
        ("cash", percent(lead.cash if lead else None) + " %"), ("regime", facts.regime.environment.title()),
    ]  # fmt: skip


def _note(profile: Any) -> str:
    """Reason, fallback chain and relaxed caps of a risk profile in one line."""
    parts = [profile.reason, profile.chain, "caps relaxed" if profile.relaxed else ""]
    return "; ".join(part for part in parts if part)


def _heat(facts: Facts) -> list[tuple[str, list[tuple[str, str]]]]:
    """(symbol, (text, background) per risk profile), largest absolute weight of any profile first."""
    held = [profile.net for profile in facts.profiles]
    size = {s: max(abs(net.get(s, 0.0)) for net in held) for s in sorted({s for net in held for s in net})}
    top = max(size.values(), default=1.0) or 1.0
    short = symbol_labels(list(size))
    symbols: Sequence[str] = sorted(size, key=lambda symbol: (-size[symbol], symbol))
    return [(short[s], [_cell(net.get(s), top) for net in held]) for s in symbols]


def _cell(weight: float | None, top: float) -> tuple[str, str]:
    """Text and background of a weight; the tint stops where black text would lose contrast."""
    if weight is None:
        return "", "#fafbfc"
    base = (0, 114, 178) if weight >= 0 else (213, 94, 0)
    tint = 0.6 * min(1.0, abs(weight) / top) ** 0.7
    red, green, blue = (round(255 - (255 - channel) * tint) for channel in base)
    return f"{100 * weight:+.1f}", f"#{red:02x}{green:02x}{blue:02x}"
