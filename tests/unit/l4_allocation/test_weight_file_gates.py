"""G10 and G12: every lie about a weight file is named by its code, its profile and its atom or symbol."""

from __future__ import annotations

import polars as pl
import pytest

from quantctl.contracts.errors import ContractError
from quantctl.contracts.records.weights import PhysicalPortfolio, SolverPortfolio
from quantctl.contracts.stage import Loaded
from quantctl.steps.l4_allocation.flatten import flatten
from quantctl.steps.l4_allocation.gates import judge_physical, judge_synthetic
from quantctl.workflows.verdicts import failure, verdict

PROFILES = ("hrp", "market_neutral", "market")


@pytest.fixture(scope="module")
def book(desk):
    """An honest book of LONG and SHORT atoms: frames, the optimisation's outcome, the physical file."""
    frames = desk.market(24, 300, mixed=True)
    outcome = desk.optimised(frames, risk_profiles=PROFILES)
    return frames, outcome, desk.flattened(frames, outcome)


@pytest.fixture
def lie(desk, book):
    """Doctor the bodies of the weight files and judge them; an edit gets the profiles of one file."""
    frames, outcome, flat = book

    def synthetic(edit):
        body = outcome.outputs["portfolio_optimized_v2"].model_dump(mode="json", by_alias=True)
        edit(body)
        return desk.judged(frames, outcome, SolverPortfolio.model_validate(body), risk_profiles=PROFILES)

    def physical(edit, **keys):
        body = flat.model_dump(mode="json", by_alias=True)
        edit(body)
        return desk.judged_flat(frames, outcome, PhysicalPortfolio.model_validate(body), **keys)

    return {"synthetic": synthetic, "physical": physical}


def named(judgement, code):
    """(symbol, message) of every ERROR of that code."""
    found = [f for f in judgement.findings if f.code == code]
    assert all(f.level == "ERROR" for f in found)
    return [(f.symbol, f.message) for f in found]


def stop(desk, gate, judgement):
    """The error that ends the run after this judgement."""
    return failure(gate.spec, judgement, verdict(gate.spec, judgement, desk.run, {}), "verdict.json")


def profile(body, name="hrp"):
    return body["profiles"][name]


def first(body):
    return profile(body)["assets"][0]


def constrain(name="hrp", **keys):
    return lambda body: profile(body, name)["constraints"].update(keys)


def turned(body, direction):
    """Net weights of the other sign for the first symbol held in `direction`."""
    row = next(a for a in profile(body)["assets"] if a["Direction"] == direction)
    row["Net_Weight"] = -row["Net_Weight"]


def test_the_honest_book_passes_both_gates(lie):
    assert lie["synthetic"](lambda body: None).findings == []
    assert lie["physical"](lambda body: None).findings == []


@pytest.mark.parametrize(
    ("code", "edit", "says"),
    [
        ("L4_STATUS", lambda b: profile(b).update(status="INFEASIBLE", reason="x"), "status INFEASIBLE with"),
        ("L4_STATUS", lambda b: profile(b).update(status="FALLBACK"), "no reason is given"),
        ("L4_DUPLICATE", lambda b: profile(b)["assets"].append(first(b)), "an atom stands in two rows"),
        ("L4_KAPPA", lambda b: profile(b)["conditioning"].update(kappa=5000.0), "kappa 5000 is not below"),
    ],
)
def test_a_doctored_profile_of_the_solver_file_is_named(desk, lie, code, edit, says):
    judgement = lie["synthetic"](edit)
    [(symbol, message)] = named(judgement, code)
    assert symbol is None and message.startswith(f"hrp: {says}")
    assert stop(desk, judge_synthetic, judgement).exit_code == 1


@pytest.mark.parametrize(
    "claim",
    [{"beta": 0.151}, {"beta": -0.151}, {"beta": None}, {"beta_tolerance": None}, {"beta_tolerance": 0.0}],
)
def test_a_neutral_portfolio_without_a_beta_within_its_tolerance_is_refused(desk, lie, claim):
    judgement = lie["synthetic"](constrain("market_neutral", **claim))
    [(symbol, message)] = named(judgement, "L4_BETA")
    assert symbol is None and message.startswith("market_neutral: beta")
    error = stop(desk, judge_synthetic, judgement)
    assert (error.code, error.exit_code) == ("L4_BETA", 1)


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("L4_UNKNOWN_ATOM", lambda b: first(b).update(Symbol="X:Y_trend_LONG")),
        ("L4_WEIGHT", lambda b: first(b).update(Weight=0.0)),
        ("L4_CAP", lambda b: constrain(effective_weight_cap=first(b)["Weight"] - 2e-6)(b)),
        ("L4_CLUSTER", lambda b: first(b).update(Cluster_ID="999")),
        ("L4_CLUSTER", lambda b: first(b).update(Intra_Cluster_Weight=0.5)),
    ],
)
def test_a_doctored_row_of_the_solver_file_names_its_atom(desk, lie, code, edit):
    seen = []
    judgement = lie["synthetic"](lambda body: (edit(body), seen.append(first(body)["Symbol"])))
    [(symbol, message)] = named(judgement, code)
    assert [symbol] == seen and message.startswith("hrp: ")
    assert stop(desk, judge_synthetic, judgement).exit_code == 1


def test_a_cluster_above_its_cap_is_named(lie):
    judgement = lie["synthetic"](constrain(effective_cap=0.001))
    held = {cluster for cluster, _ in named(judgement, "L4_CAP")}
    assert len(held) > 1 and all("cluster holds" in message for _, message in named(judgement, "L4_CAP"))


def test_a_registry_that_loses_an_atom_is_found(lie):
    def lose(body):
        next(iter(body["cluster_registry"].values()))["symbols"].pop()

    assert named(lie["synthetic"](lose), "L4_CLUSTER") == [
        (None, "cluster_registry does not hold every atom exactly once")
    ]


def test_a_configured_profile_that_is_absent_is_named_by_both_gates(desk, lie):
    for space in ("synthetic", "physical"):
        judgement = lie[space](lambda body: body["profiles"].pop("hrp"))
        [(symbol, message)] = named(judgement, "OPT_PROFILE_MISSING")
        assert symbol is None and "hrp" in message
        gate = judge_synthetic if space == "synthetic" else judge_physical
        assert stop(desk, gate, judgement).exit_code == 1


def only_the_market(body):
    body["profiles"] = {"market": body["profiles"]["market"]}


def test_files_that_hold_no_row_are_not_waved_through(desk, book, lie):
    frames, outcome, flat = book
    judgement = lie["synthetic"](only_the_market)
    assert named(judgement, "L4_SYNTHETIC_NOTHING_CHECKED") == [(None, "no risk profile holds an asset")]
    body = outcome.outputs["portfolio_optimized_v2"].model_dump(mode="json", by_alias=True)
    only_the_market(body)
    solver, physical = SolverPortfolio.model_validate(body), flat.model_dump(mode="json", by_alias=True)
    only_the_market(physical)
    empty = desk.judged_flat(frames, outcome, PhysicalPortfolio.model_validate(physical), solver=solver)
    assert named(empty, "L4_PHYSICAL_NOTHING_CHECKED") == [(None, "no risk profile holds an asset")]
    assert stop(desk, judge_physical, empty).code == "L4_PHYSICAL_NOTHING_CHECKED"


@pytest.mark.parametrize("problem", ["missing", "corrupt"])
def test_a_physical_file_that_cannot_be_read_is_named(desk, book, problem):
    frames, outcome, _ = book
    broken = Loaded("portfolio_flattened", "data/portfolio_flattened.json", None, problem=problem)
    solver = desk.loaded(outcome.outputs["portfolio_optimized_v2"])
    judgement = judge_physical(broken, solver, desk.loaded(frames["atoms"]), broken, None)
    assert {f.code for f in judgement.findings} == {"L4_PHYSICAL_PARSE"}
    assert judgement.findings[0].message.startswith(f"data/portfolio_flattened.json is {problem}")
    error = stop(desk, judge_physical, judgement)
    assert (error.code, error.exit_code) == ("L4_PHYSICAL_PARSE", 1)


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("FLATTEN_CONSERVATION", lambda t: t.update(cash=1e-8)),
        ("FLATTEN_CONSERVATION", lambda t: t.update(netting=t["netting"] + 1e-8)),
        ("FLATTEN_CONSERVATION", lambda t: t.update(net=1.5, self_financing_cash=-0.5)),
        ("FLATTEN_CONSERVATION", lambda t: t.update(long_gross=t["long_gross"] + 1e-8)),
        ("FLATTEN_CONSERVATION", lambda t: t.update(self_financing_cash=t["self_financing_cash"] + 1e-8)),
        ("FLATTEN_GATE", lambda t: t.update(gated_cash=1e-8)),
        ("L4_SUM", lambda t: t.update(gross=1.06)),
    ],
)
def test_physical_totals_that_do_not_add_up_name_their_profile(desk, lie, code, edit):
    judgement = lie["physical"](lambda body: edit(profile(body)["totals"]))
    found = named(judgement, code)
    assert found and all(symbol is None and message.startswith("hrp: ") for symbol, message in found)
    assert stop(desk, judge_physical, judgement).exit_code == 1


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("L4_SYMBOL", lambda b: first(b).update(Symbol="BTCUSDT")),
        ("L4_SYMBOL", lambda b: first(b).update(Symbol=first(b)["Contributors"][0]["atom"])),
        ("L4_WEIGHT", lambda b: first(b).update(Weight=0.0)),
        ("FLATTEN_CONSERVATION", lambda b: first(b).update(Weight=first(b)["Weight"] + 1e-8)),
        ("FLATTEN_GATE", lambda b: first(b)["Contributors"][0].update(gate=0)),
        ("FLATTEN_UNKNOWN_ATOM", lambda b: first(b)["Contributors"][0].update(atom="X:Y_trend_LONG")),
    ],
)
def test_a_doctored_position_is_named_by_its_symbol(desk, lie, code, edit):
    seen = []
    judgement = lie["physical"](lambda body: (edit(body), seen.append(first(body)["Symbol"])))
    assert seen[0] in [symbol for symbol, _ in named(judgement, code)]
    assert all(message.startswith("hrp: ") for _, message in named(judgement, code))
    assert stop(desk, judge_physical, judgement).exit_code == 1


@pytest.mark.parametrize(("direction", "says"), [("LONG", "but net short"), ("SHORT", "but net long")])
def test_a_leg_that_changed_its_sign_is_named(lie, direction, says):
    judgement = lie["physical"](lambda body: turned(body, direction))
    [(symbol, message)] = named(judgement, "FLATTEN_SIGN")
    assert symbol.startswith("BINANCE:") and message.endswith(says)


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        ("L4_STATUS", lambda b: profile(b).update(status="SKIPPED")),
        ("L4_DUPLICATE", lambda b: profile(b)["assets"].append(first(b))),
    ],
)
def test_a_doctored_profile_of_the_physical_file_is_named(lie, code, edit):
    [(symbol, message)] = named(lie["physical"](edit), code)
    assert symbol is None and message.startswith("hrp: ")


def doctored(frames, **columns):
    """The atom table with other values for its first atom, and that atom."""
    atoms, name = frames["atoms"].sort("atom"), frames["atoms"]["atom"].sort()[0]
    changed = [
        pl.when(pl.col("atom") == name).then(pl.lit(value)).otherwise(pl.col(key)).cast(pl.Int8).alias(key)
        for key, value in columns.items()
    ]
    return atoms.with_columns(changed), name


@pytest.mark.parametrize(
    ("code", "columns", "place"),
    [
        ("FLATTEN_FACTOR", {"factor": -1}, "atoms:factor:"),
        ("FLATTEN_FACTOR", {"factor": 0}, "atoms:factor:"),
        ("FLATTEN_GATE", {"deploy_gate": 2}, "atoms:deploy_gate:"),
        ("FLATTEN_GATE", {"deploy_gate": None}, "atoms:deploy_gate:"),
    ],
)
def test_an_atom_table_that_contradicts_itself_stops_flattening_and_its_gate(
    desk, book, code, columns, place
):
    frames, outcome, flat = book
    atoms, name = doctored(frames, **columns)
    with pytest.raises(ContractError) as caught:
        flatten(outcome.outputs["portfolio_optimized_v2"], atoms, desk.hashes, desk.run)
    assert (caught.value.code, caught.value.exit_code, caught.value.where) == (code, 1, place + name)
    assert [symbol for symbol, _ in named(desk.judged_flat(frames, outcome, flat, atoms=atoms), code)] == [
        place + name
    ]


def test_a_weight_of_an_atom_that_the_table_lost_stops_flattening(desk, book):
    frames, outcome, flat = book
    portfolio = outcome.outputs["portfolio_optimized_v2"]
    name = min(asset.Symbol for asset in portfolio.profiles["hrp"].assets)
    atoms = frames["atoms"].filter(pl.col("atom") != name)
    with pytest.raises(ContractError) as caught:
        flatten(portfolio, atoms, desk.hashes, desk.run)
    error = caught.value
    assert (error.code, error.exit_code, error.where) == ("FLATTEN_UNKNOWN_ATOM", 1, name)
    found = named(desk.judged_flat(frames, outcome, flat, atoms=atoms), "FLATTEN_UNKNOWN_ATOM")
    assert name in [symbol for symbol, _ in found]


def test_an_ungated_atom_cannot_be_switched_off(desk, book):
    frames, outcome, flat = book
    atoms, name = doctored(frames, deploy_gate=0)
    found = named(desk.judged_flat(frames, outcome, flat, atoms=atoms), "FLATTEN_GATE")
    assert (name, "an ungated atom has its gate off") in found


def test_a_portfolio_that_is_all_cash_needs_its_permission(desk, book):
    frames, outcome, _ = book
    dark = frames | {"atoms": frames["atoms"].with_columns(pl.lit(0, pl.Int8).alias("deploy_gate"))}
    refused = named(desk.judged_flat(dark, outcome), "FLATTEN_EMPTY")
    assert [message for _, message in refused] == [
        f"{name}: every gate is off" for name in ("hrp", "market_neutral")
    ]
    assert named(desk.judged_flat(dark, outcome, allow_all_cash=True), "FLATTEN_EMPTY") == []
