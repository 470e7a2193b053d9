"""The report as one self-contained HTML page."""

from __future__ import annotations

from quantctl.steps.reporting.facts import Facts
from quantctl.steps.reporting.markdown import WALK_FORWARD
from quantctl.steps.reporting.plots import draw

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ f.run.profile }} · {{ f.run.as_of }}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;color:#111827;background:#f9fafb;margin:0}
main{max-width:1180px;margin:auto;padding:2rem 1.5rem}h1{font-size:1.6rem;margin:0}
h2{font-size:1.05rem;margin:0 0 .6rem}.sub{color:#6b7280;margin:.2rem 0 1.4rem}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:1rem}
section{background:#fff;border:1px solid #e5e7eb;border-radius:8px;padding:1rem 1.2rem}
.wide{grid-column:1/-1}svg{width:100%;height:auto}.note{color:#6b7280;font-size:.88rem}
.facts{display:flex;flex-wrap:wrap;gap:2rem;margin-bottom:1.2rem}.facts b{display:block;font-size:1.25rem}
table{border-collapse:collapse;width:100%;font-size:.88rem}th{text-align:left;color:#6b7280;font-weight:500}
td,th{padding:.28rem .7rem .28rem 0;border-bottom:1px solid #f3f4f6}
.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.85em}
</style></head><body><main>
<h1>{{ f.run.profile }}</h1>
<p class="sub">Run <code>{{ f.run.run_id }}</code> as of {{ f.run.as_of }} on snapshot
<code>{{ f.run.snapshot }}</code></p>
<div class="facts">
<span>Environment<b>{{ f.regime.environment }}</b></span>
<span>Regime score<b>{{ "%.2f"|format(f.regime.score) }}</b></span>
<span>Risk profile<b>{{ f.primary }}</b></span><span>Atoms<b>{{ f.atoms.height }}</b></span>
<span>Positions<b>{{ f.positions|length }}</b></span><span>Bars<b>{{ f.dates|length }}</b></span></div>
<div class="grid">
<section><h2>Net weights</h2>{{ svg.weights|safe }}<p class="note">Blue long, orange short.</p></section>
<section><h2>Share of variance</h2>{{ svg.risk|safe }}<p class="note">Dots: weight.</p></section>
<section class="wide"><h2>Streams, compounded</h2>{{ svg.streams|safe }}
<p class="note">Blue: the portfolio, rebalanced daily; grey: its atoms. {{ walk_forward }}</p></section>
<section><h2>From scan to winners</h2>{{ svg.funnel|safe }}</section>
<section><h2>Clusters of raw returns</h2>{{ svg.clusters|safe }}</section>
<section><h2>Regime score by component</h2>{{ svg.regime|safe }}
<p class="note">Regime {{ f.regime.regime }}, quadrant {{ f.regime.quadrant }}; noise scores 1.</p></section>
<section><h2>Vetoes</h2><table><tr><th>code</th><th class="n">atoms</th></tr>
{% for code, count in f.vetoes %}<tr><td>{{ code }}</td><td class="n">{{ count }}</td></tr>{% endfor %}
</table></section>
<section class="wide"><h2>Risk profiles</h2><table><tr><th>profile</th><th>status</th><th>reason</th>
<th class="n">atoms</th><th class="n">largest</th><th class="n">effective number</th><th class="n">kappa</th>
<th class="n">beta</th></tr>{% for p in f.profiles %}<tr><td>{{ p.name }}</td><td>{{ p.status }}</td>
<td>{{ p.reason }}</td><td class="n">{{ p.n }}</td><td class="n">{{ "%.1f%%"|format(100 * p.largest) }}</td>
<td class="n">{{ "%.1f"|format(p.effective) }}</td><td class="n">{{ "%.1f"|format(p.kappa) }}</td>
<td class="n">{% if p.beta is not none %}{{ "%+.3f"|format(p.beta) }}{% endif %}</td></tr>{% endfor %}
</table></section></div></main></body></html>
"""


def page(facts: Facts) -> str:
    """The page; raises `ImportError` where the report extra is not installed."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE).render(f=facts, svg=draw(facts), walk_forward=WALK_FORWARD)
