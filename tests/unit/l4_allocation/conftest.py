"""A small market of atoms, its optimisation and its flattening, and the gates over their files."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.settings.allocation import AllocationSettings
from quantctl.contracts.settings.backtest import BacktestSettings
from quantctl.contracts.settings.features import FeaturesSettings
from quantctl.contracts.settings.htr import HtrSettings
from quantctl.contracts.settings.synthesis import SynthesisSettings
from quantctl.contracts.stage import Loaded, RunFacts
from quantctl.steps.l4_allocation.allocation import AllocationParams, allocate
from quantctl.steps.l4_allocation.flatten import flatten
from quantctl.steps.l4_allocation.gates import L4Params, PhysicalParams, judge_physical, judge_synthetic

BENCHMARK = "BINANCE:BTCUSDT"
RUN = RunFacts(
    run_id="r1", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2022-10-27", snapshot="s1",
    manifest_sha256="0" * 64, annualisation=365, code_version="0.1",
)  # fmt: skip
HASHED = ("synthetic_returns", "atoms", "synthetic_gates", "regime", "portfolio_optimized_v2")
HASHES = dict.fromkeys(HASHED, "a" * 64)
REGIME = SimpleNamespace(regime="NORMAL", score=1.0, quadrant="NORMAL")


def market(size: int, bars: int, *, mixed: bool) -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(size)
    factor = rng.standard_t(4, bars) * 0.02
    symbols = [f"BINANCE:S{i:03d}USDT" for i in range(size)]
    noise = rng.standard_normal((bars, size)) * 0.03
    raw = np.clip(factor[:, None] * rng.uniform(0.5, 1.5, size) + noise + 0.006, -0.9, 4)
    directions = ["SHORT" if mixed and i % 2 else "LONG" for i in range(size)]
    atoms = [f"{s}_rating_all_{d}" for s, d in zip(symbols, directions, strict=True)]
    sign = np.array([1 if d == "LONG" else -1 for d in directions], dtype=np.int8)
    stream = np.where(sign > 0, raw, -np.clip(raw, None, 1.0))
    days = [date(2022, 1, 1) + timedelta(i) for i in range(bars)]
    dates = pl.Series("date", days).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    return {
        "synthetic_returns": pl.DataFrame(
            [dates, *(pl.Series(a, stream[:, i]) for i, a in enumerate(atoms))]
        ),
        "returns_matrix": pl.DataFrame(
            [dates, *(pl.Series(s, raw[:, i]) for i, s in enumerate(symbols)), pl.Series(BENCHMARK, factor)]
        ),
        "atoms": pl.DataFrame({
            "atom": atoms, "symbol": symbols, "logic": "rating_all", "direction": directions, "factor": sign,
            "gated": False, "deploy_gate": np.ones(size, dtype=np.int8),
        }),
        "lake_symbols": pl.DataFrame(
            {"symbol": symbols, "sector": [None] * size, "asset_type": ["spot"] * size},
            schema_overrides={"sector": pl.String},
        ),
    }  # fmt: skip


def optimised(frames, *, winners=20, benchmarks=(BENCHMARK,), features=None, **keys):
    params = AllocationParams(
        allocation=AllocationSettings(**keys),
        backtest=BacktestSettings(benchmark_symbols=benchmarks),
        features=FeaturesSettings(**(features or {})),
        htr=HtrSettings(),
    )
    return allocate(
        **frames, regime=REGIME, portfolio_candidates=SimpleNamespace(winners=[None] * winners),
        input_hashes=HASHES, params=params, run=RUN,
    )  # fmt: skip


def loaded(value):
    return Loaded("x", "data/x", value)


def judged(frames, outcome, portfolio=None, **keys):
    configured = AllocationSettings(**keys)
    solver = portfolio or outcome.outputs["portfolio_optimized_v2"]
    clusters = loaded(outcome.outputs["portfolio_clusters"])
    return judge_synthetic(loaded(solver), loaded(frames["atoms"]), clusters, L4Params(allocation=configured))


def flattened(frames, outcome):
    portfolio = outcome.outputs["portfolio_optimized_v2"]
    return flatten(portfolio, frames["atoms"], HASHES, RUN).outputs["portfolio_flattened"]


def judged_flat(frames, outcome, portfolio=None, *, atoms=None, solver=None, **keys):
    flat = portfolio or flattened(frames, outcome)
    params = PhysicalParams(allocation=AllocationSettings(**keys), synthesis=SynthesisSettings())
    return judge_physical(
        loaded(flat), loaded(solver or outcome.outputs["portfolio_optimized_v2"]),
        loaded(frames["atoms"] if atoms is None else atoms), loaded(frames["returns_matrix"]), params,
    )  # fmt: skip


@pytest.fixture(scope="session")
def desk():
    """Builders of a market, and the stages and gates of the allocation over it."""
    return SimpleNamespace(
        market=market, optimised=optimised, flattened=flattened, judged=judged, judged_flat=judged_flat,
        loaded=loaded, benchmark=BENCHMARK, hashes=HASHES, run=RUN,
    )  # fmt: skip
