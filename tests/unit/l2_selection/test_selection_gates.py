"""Gates G4, G5 and G6: a sound selection passes, and each corruption fires exactly its code."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest

from quantctl.contracts.codes import CODES
from quantctl.contracts.errors import ContractError
from quantctl.contracts.frames.features import FEATURES
from quantctl.contracts.records.candidates import PoolRow, PoolVeto, RawPool
from quantctl.contracts.records.selection import (
    AuditGate,
    PortfolioMeta,
    Scarcity,
    SelectionAudit,
    VetoRow,
    Winner,
    WinnerCore,
    Winners,
)
from quantctl.contracts.stage import Judgement, Loaded, RunFacts
from quantctl.steps.l2_selection.enrichment import enrich
from quantctl.steps.l2_selection.gates import judge_enrichment, judge_l1_l2, judge_winner_floor

RUN = RunFacts(
    run_id="r", profile="p", trace_id="0" * 32, pipeline="alpha.full", as_of="2024-12-31", snapshot="s",
    manifest_sha256="0" * 64, annualisation=365, code_version="0",
)  # fmt: skip
HEAD = {"run_id": "r", "profile": "p", "as_of": "2024-12-31"}
N = 18
SYMBOLS = [f"BINANCE:A{i:02d}USDT" for i in range(N)]
ATOMS = [f"{symbol}_trend_LONG" for symbol in SYMBOLS]


def veto(code: str, kind: str, stage: str = "darwinian") -> VetoRow:
    return VetoRow.model_validate({"code": code, "class": kind, "value": 1.0, "limit": 0.9, "stage": stage})


class Case:
    """A sound selection of 16 winners from 18 candidates; a test bends one part of it."""

    def __init__(self, n_winners: int = 16) -> None:
        self.winners = [winner(i) for i in range(n_winners)]
        self.vetoes = {atom: [veto("NOT_RECRUITED", "NONE", "recruitment")] for atom in ATOMS[n_winners:]}
        self.pool = [pool_row(i) for i in range(N)]
        numbers = {name: [0.5] * N for name in FEATURES}
        self.features = pl.DataFrame({"atom": ATOMS, "feature_date": [date(2024, 12, 31)] * N, **numbers})
        self.store = pl.DataFrame(
            {"symbol": SYMBOLS, "date": [date(2024, 12, 31)] * N, **numbers, "rsi_14": [50.0] * N}
        )
        self.scores = pl.DataFrame({"atom": ATOMS, "alpha_score": [0.2] * N, "momentum_prob": [0.5] * N})
        self.audit_winners: list[Winner] | None = None
        self.scarcity: Scarcity | None = None

    def selected(self) -> Winners:
        return Winners(**HEAD, winners=self.winners)

    def raw(self) -> RawPool:
        return RawPool(**HEAD, rows=self.pool)

    def audit(self) -> SelectionAudit:
        listed = self.winners if self.audit_winners is None else self.audit_winners
        core = [
            WinnerCore(**{name: getattr(each, name) for name in WinnerCore.model_fields}) for each in listed
        ]
        return SelectionAudit(
            schema_version="quantctl.selection_audit/1",
            run_id="r",
            profile="p",
            trace_id="0" * 32,
            decision_date="2024-12-31",
            selection_mode="v4",
            spec_version="selection/1",
            scale="raw",
            input_hashes={},
            output_hashes={},
            counts={"raw": len(core) + len(self.vetoes)},
            lookbacks_used=[],
            ridge=[],
            clusters={},
            relaxation_stage=1,
            forced=False,
            stages=[],
            active_thresholds={},
            winners=core,
            vetoes=self.vetoes,
            foundation_drops=[],
            relabelled=[],
            calibration=[],
            warnings=[],
            scarcity=self.scarcity,
            gate=AuditGate(status="PASS", code=None),
        )

    def l1_l2(self) -> Judgement:
        return judge_l1_l2(
            loaded(self.store),
            loaded(self.features),
            loaded(self.scores),
            loaded(self.selected()),
            loaded(self.audit()),
            loaded(self.raw()),
            run=RUN,
        )

    def floor(self) -> Judgement:
        return judge_winner_floor(loaded(self.selected()), loaded(self.audit()), run=RUN)


def winner(i: int, **changes: Any) -> Winner:
    plain: dict[str, Any] = {
        "atom": ATOMS[i], "symbol": SYMBOLS[i], "logic": "trend", "direction": "LONG", "cluster": "1",
        "alpha_score": 0.2, "rank_score": 0.2, "rank": i + 1, "stage_admitted": 1, "note": None, "adv": 1e7,
        "base_identity": f"A{i:02d}", "exchange": "BINANCE", "asset_type": "spot", "waived": [],
    }  # fmt: skip
    return Winner(**(plain | changes))


def pool_row(i: int, vetoes: tuple[PoolVeto, ...] = ()) -> PoolRow:
    return PoolRow(
        atom=ATOMS[i], symbol=SYMBOLS[i], exchange="BINANCE", asset_type="spot", base_identity=f"A{i:02d}",
        quote="USDT", direction="LONG", logic="trend", adv=1e7, vol_30=0.02, adv_group=1e7, scanners=["s"],
        metadata={}, tick_size=0.01, lot_size=0.1, price_precision=2, min_notional=5.0,
        metadata_provenance="venue", calendar="24x7", vetoes=list(vetoes),
    )  # fmt: skip


def loaded(value: Any) -> Loaded[Any]:
    return Loaded("a", "data/a", value)


def codes(judgement: Judgement, level: str = "ERROR") -> list[str]:
    return sorted({finding.code for finding in judgement.findings if finding.level == level})


def cell(table: str, name: str, row: int, value: Any) -> Callable[[Case], None]:
    def bend(case: Case) -> None:
        frame = getattr(case, table)
        values = frame[name].to_list()
        values[row] = value
        setattr(case, table, frame.with_columns(pl.Series(name, values, dtype=frame.schema[name])))

    return bend


def vetoed_in_pool(case: Case) -> None:
    case.pool[0] = pool_row(0, (PoolVeto(code="PEG_LISTED"),))


def waived_hard(case: Case) -> None:
    case.winners[0] = winner(0, waived=["FEATURE_STALE"])


def waived_strategy(case: Case) -> None:
    case.winners[0] = winner(0, waived=["PERCENTILE_EXCLUDED"])


def winner_without_score(case: Case) -> None:
    case.scores = case.scores.filter(pl.col("atom") != ATOMS[3])


def atom_left_out(case: Case) -> None:
    del case.vetoes[ATOMS[-1]]


def atom_invented(case: Case) -> None:
    case.vetoes["BINANCE:ZZZ_trend_LONG"] = [veto("FRICTION", "SOFT")]


def test_a_sound_selection_passes_and_says_what_it_examined() -> None:
    case = Case()
    for judgement in (case.l1_l2(), case.floor()):
        assert judgement.findings == [] and judgement.error is None
        assert all(judgement.checked.values())


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (cell("store", "rsi_14", 2, 100.2), "FEATURE_OUT_OF_BOUNDS"),
        (cell("features", "adx_14", 2, -0.1), "FEATURE_OUT_OF_BOUNDS"),
        (cell("features", "dmn_14", 2, 101.0), "FEATURE_OUT_OF_BOUNDS"),
        (cell("features", "recommend_all", 2, 1.001), "FEATURE_OUT_OF_BOUNDS"),
        (cell("features", "recommend_all", 2, float("nan")), "FEATURE_OUT_OF_BOUNDS"),
        (cell("features", "vol_30", 2, -1e-6), "FEATURE_OUT_OF_BOUNDS"),
        (cell("features", "feature_date", 2, date(2025, 1, 1)), "L1_LOOKAHEAD"),
        (cell("store", "date", 2, date(2025, 1, 1)), "L1_LOOKAHEAD"),
        (cell("scores", "alpha_score", 2, 1.0001), "L2_SCORE_RANGE"),
        (cell("scores", "alpha_score", 2, None), "L2_SCORE_RANGE"),
        (cell("scores", "alpha_score", 2, float("nan")), "L2_SCORE_RANGE"),
        (cell("scores", "momentum_prob", 17, -0.01), "L2_SCORE_RANGE"),
        (winner_without_score, "L2_WINNER_UNSCORED"),
        (vetoed_in_pool, "L2_VETO_ADMITTED"),
        (waived_hard, "L2_VETO_ADMITTED"),
        (waived_strategy, "L2_VETO_ADMITTED"),
        (atom_left_out, "L2_AUDIT_COVERAGE"),
        (atom_invented, "L2_AUDIT_COVERAGE"),
    ],
)
def test_each_corruption_fires_exactly_its_code(bend: Callable[[Case], None], code: str) -> None:
    case = Case()
    bend(case)
    assert codes(case.l1_l2()) == [code]
    assert CODES[code].exit == (3 if code in ("FEATURE_OUT_OF_BOUNDS", "L1_LOOKAHEAD") else 1)


def test_waived_soft_veto_is_no_error() -> None:
    case = Case()
    case.winners[0] = winner(0, waived=["FRICTION", "ENTROPY_HIGH"])
    assert case.l1_l2().findings == []


def test_undefined_feature_of_a_non_winner_is_a_warning() -> None:
    case = Case()
    cell("features", "kurtosis", 17, None)(case)
    judgement = case.l1_l2()
    assert codes(judgement) == [] and codes(judgement, "WARN") == ["L1_FEATURE_MISSING"]
    assert judgement.findings[0].details == {"feature": "kurtosis", "non_winners": 1, "winners": 0}


@pytest.mark.parametrize("position", range(6))
def test_unreadable_input_is_a_verdict_not_a_crash(position: int) -> None:
    case = Case()
    inputs: list[Loaded[Any]] = [
        loaded(value)
        for value in (case.store, case.features, case.scores, case.selected(), case.audit(), case.raw())
    ]
    inputs[position] = Loaded("a", "data/a", None, problem="unreadable", detail="bad magic")
    judgement = judge_l1_l2(*inputs, run=RUN)
    assert codes(judgement) == ["L1_L2_PARSE"] and judgement.error is not None
    assert judgement.error.code == "L1_L2_PARSE" and judgement.error.exit_code == 1


def test_no_winner_stops_the_run_with_counts_and_a_remedy() -> None:
    case = Case(0)
    case.vetoes = {atom: [veto("FRICTION", "SOFT")] for atom in ATOMS[:10]}
    case.vetoes |= {atom: [veto("TOXIC_ENTROPY", "HARD"), veto("FRICTION", "SOFT")] for atom in ATOMS[10:]}
    judgement = case.floor()
    assert codes(judgement) == ["SELECTION_EMPTY"]
    error = judgement.error
    assert error is not None and error.exit_code == 1
    assert "FRICTION 18" in error.message and "TOXIC_ENTROPY 8" in error.message
    assert error.remedy == "quantctl explain r SYMBOL"


@pytest.mark.parametrize(
    ("n", "level"), [(15, None), (14, "SCARCE"), (5, "SCARCE"), (4, "ULTRA_SPARSE"), (1, "ULTRA_SPARSE")]
)
def test_few_winners_are_typed_scarcity(n: int, level: str | None) -> None:
    judgement = Case(n).floor()
    assert codes(judgement) == []
    assert [finding.details["level"] for finding in judgement.findings] == ([level] if level else [])


def test_a_higher_floor_of_the_profile_is_the_one_that_counts() -> None:
    case = Case(16)
    case.scarcity = Scarcity(level="SCARCE", n=16, floor=20)
    assert codes(case.floor(), "WARN") == ["SCARCITY"]


def test_audit_that_names_other_winners_fails() -> None:
    case = Case()
    case.audit_winners = case.winners[:-1]
    assert codes(case.floor()) == ["L2_AUDIT_COVERAGE"]


METADATA = pl.DataFrame(
    {
        "symbol": SYMBOLS, "tick_size": [0.01] * N, "lot_size": [0.1] * N,
        "price_precision": pl.Series([2] * N, dtype=pl.Int32), "min_notional": [5.0] * N,
        "min_notional_reason": [None] * N, "min_qty": [0.1] * N, "max_qty": [1e6] * N,
        "contract_size": [None] * N, "provenance": ["venue"] * N,
    },
    schema_overrides={"min_notional_reason": pl.String, "contract_size": pl.Float64},
)  # fmt: skip
LISTED = pl.DataFrame(
    {"symbol": SYMBOLS, "base": [f"A{i:02d}" for i in range(N)], "quote": ["USDT"] * N,
     "sector": ["Layer 1"] * N, "industry": [None] * N}, schema_overrides={"industry": pl.String},
)  # fmt: skip


def enriched(case: Case, metadata: pl.DataFrame = METADATA, symbols: pl.DataFrame = LISTED) -> PortfolioMeta:
    made = enrich(case.selected(), case.raw(), metadata, symbols, RUN)
    meta: PortfolioMeta = made.outputs["portfolio_meta"]
    return meta


def judged(case: Case, meta: PortfolioMeta) -> Judgement:
    return judge_enrichment(loaded(case.selected()), loaded(meta))


def test_enrichment_keeps_the_winners_and_adds_what_is_known() -> None:
    case = Case()
    meta = enriched(case)
    assert [row.model_dump(include=set(Winner.model_fields)) for row in meta.rows] == [
        each.model_dump() for each in case.winners
    ]
    first = meta.rows[0]
    assert (first.tick_size, first.lot_size, first.price_precision, first.min_notional) == (0.01, 0.1, 2, 5.0)
    assert (first.base, first.quote, first.sector, first.metadata_provenance) == (
        "A00",
        "USDT",
        "Layer 1",
        "venue",
    )
    assert judged(case, meta).findings == [] and judged(case, meta).checked == {"winners": 16, "rows": 16}


def test_enrichment_ignores_rows_of_symbols_that_did_not_win_and_their_order() -> None:
    assert enriched(Case(), METADATA.reverse(), LISTED.reverse()) == enriched(Case())


def test_undefined_least_notional_carries_its_reason() -> None:
    none = METADATA.with_columns(min_notional=pl.lit(None, pl.Float64))
    inferred = none.with_columns(min_notional_reason=pl.lit("NOT_INFERABLE"))
    assert {row.min_notional_reason for row in enriched(Case(), inferred).rows} == {"NOT_INFERABLE"}
    assert {row.min_notional_reason for row in enriched(Case(), none).rows} == {"NO_VENUE_RULE"}
    assert {row.min_notional_reason for row in enriched(Case()).rows} == {None}


@pytest.mark.parametrize("name", ["tick_size", "lot_size", "price_precision"])
def test_winner_without_a_rule_is_incomplete(name: str) -> None:
    values = METADATA[name].to_list()
    values[4] = None
    meta = enriched(Case(), METADATA.with_columns(pl.Series(name, values, dtype=METADATA.schema[name])))
    judgement = judged(Case(), meta)
    assert [(f.code, f.symbol, f.details) for f in judgement.findings] == [
        ("METADATA_INCOMPLETE", SYMBOLS[4], {"missing": [name]})
    ]


def test_winner_without_any_metadata_row_is_incomplete_not_dropped() -> None:
    meta = enriched(Case(), METADATA.filter(pl.col("symbol") != SYMBOLS[2]))
    assert len(meta.rows) == 16 and codes(judged(Case(), meta)) == ["METADATA_INCOMPLETE"]


@pytest.mark.parametrize("change", ["lost", "added", "order", "direction", "repeated"])
def test_any_change_of_the_winner_set_is_found(change: str) -> None:
    case, rows = Case(), list(enriched(Case()).rows)
    bent = {
        "lost": rows[1:],
        "added": [*rows, rows[0].model_copy(update={"atom": ATOMS[17], "symbol": SYMBOLS[17]})],
        "order": rows[::-1],
        "direction": [rows[0].model_copy(update={"direction": "SHORT"}), *rows[1:]],
        "repeated": [*rows, rows[0]],
    }[change]
    assert codes(judged(case, PortfolioMeta(**HEAD, rows=bent))) == ["ENRICHMENT_SET_CHANGED"]


def test_winner_outside_the_pool_is_a_typed_error() -> None:
    case = Case()
    case.pool = case.pool[1:]
    with pytest.raises(ContractError) as caught:
        enriched(case)
    assert caught.value.code == "ENRICHMENT_WINNER_UNKNOWN" and caught.value.exit_code == 1


def test_unreadable_inputs_of_the_other_gates_are_verdicts() -> None:
    broken: Loaded[Any] = Loaded("a", "data/a", None, problem="missing")
    sound = loaded(Case().selected())
    assert codes(judge_winner_floor(sound, broken, run=RUN)) == ["WINNER_FLOOR_PARSE"]
    assert codes(judge_enrichment(broken, sound)) == ["ENRICHMENT_PARSE"]
