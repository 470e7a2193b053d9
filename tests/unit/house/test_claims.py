"""How benchmarks judge: on a clock that only moves when somebody works, so that nothing here is timed."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
MODULES = ("threads", "claims", "measuring", "allocation_data", "contest", "grades", "lines", "peers")
SIZE = 100


@pytest.fixture
def bench(monkeypatch):
    """The harness's modules, imported as a benchmark imports them, on a clock of ticks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        monkeypatch.setenv(name, "1")
    modules = SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    modules.clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(modules.measuring, "time", SimpleNamespace(process_time=lambda: modules.clock.now))
    idle = SimpleNamespace(collect=int, disable=int, enable=int, freeze=int, unfreeze=int)
    monkeypatch.setattr(modules.measuring, "gc", idle)
    monkeypatch.setattr(modules.threads, "verified", lambda: 1)
    # LAPACK does not move the clock; one Cholesky meets the goal, so the peer alone decides.
    monkeypatch.setattr(modules.lines, "in_choleskys", lambda *_: [1.0])
    monkeypatch.setattr(modules.peers, "installed", lambda library: "1.0")
    yield modules
    for name in set(MODULES) & (set(sys.modules) - before):
        del sys.modules[name]


def method(bench, name, ticks, answer=1.0, inputs=None):
    """Someone who works for `ticks` and answers equal weights times `answer`."""

    def prepare(case):
        def call():
            bench.clock.now += ticks
            return np.full(case.size, answer / case.size)

        return call

    more = {} if inputs is None else {"inputs": inputs}
    return bench.contest.Method(name, prepare, **more)


def contest(bench, ours, peer):
    def grade(case, weights):
        return bench.grades.Grade(float(weights @ weights), abs(float(weights.sum()) - 1.0))

    return bench.contest.Kernel("maxdiv", "LO", ours, grade, {"skfolio": peer})


def judged(bench, kernel, capsys):
    """Exit code and the lines of one claim at one N."""
    plan = bench.contest.Plan(sizes=(SIZE,), seeds=(11,), adversarial=False)
    code = bench.lines.run(kernel, plan)
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("ticks", "ratio"), [(1.0, 1.0), (2.0, 0.5), (0.01, 100.0)])
def test_a_peer_in_our_place_gives_one_and_doing_our_work_twice_halves_the_ratio(bench, capsys, ticks, ratio):
    kernel = contest(bench, method(bench, "ours", ticks), method(bench, "skfolio", 1.0))
    _, lines = judged(bench, kernel, capsys)
    assert lines[-1]["ratio"] == pytest.approx(ratio)
    assert lines[-1]["verdict"] == ("GOAL" if ratio >= 40 else "FAIL")


def test_a_wrong_answer_of_ours_is_refused_and_not_timed(bench, capsys):
    kernel = contest(bench, method(bench, "ours", 0.01, answer=1.001), method(bench, "skfolio", 1.0))
    code, (line,) = judged(bench, kernel, capsys)
    assert (code, line["code"], line["verdict"], line["ours"]) == (1, "BENCH_QUALITY", "FAIL", None)


def test_a_wrong_answer_of_a_peer_is_timed_and_its_deviation_printed(bench, capsys):
    kernel = contest(bench, method(bench, "ours", 0.01), method(bench, "skfolio", 1.0, answer=1.001))
    _, lines = judged(bench, kernel, capsys)
    assert lines[-1]["ratio"] == pytest.approx(100.0)
    assert lines[-1]["quality"]["peers"]["skfolio"]["violation"] == pytest.approx(0.001, rel=0.1)


def test_a_missing_peer_exits_three_and_is_no_pass(bench, capsys, monkeypatch):
    monkeypatch.setattr(bench.peers, "installed", lambda library: None)
    kernel = contest(bench, method(bench, "ours", 0.01), method(bench, "skfolio", 1.0))
    code, lines = judged(bench, kernel, capsys)
    assert (code, lines[-1]["verdict"], lines[-1]["ratio"]) == (3, "PEER_MISSING", None)


def test_unequal_inputs_are_refused(bench, capsys):
    other = method(bench, "skfolio", 1.0, inputs=lambda case: (2.0 * case.cov, case.mu, case.returns))
    code, (line,) = judged(bench, contest(bench, method(bench, "ours", 0.01), other), capsys)
    assert (code, line["code"]) == (3, "BENCH_QUALITY_INPUT")


def test_the_worse_of_the_two_ratios_is_judged(bench):
    ours, peer = [1.0, 1.0, 4.0], [10.0, 40.0, 40.0]
    assert bench.claims.worse_ratio(ours, peer) == 10.0


@pytest.mark.parametrize(
    ("figure", "verdict", "code"), [(1.0, "GOAL", 0), (2.0, "FLOOR", 0), (2.1, "FAIL", 1)]
)
def test_goal_and_floor_are_inclusive(bench, capsys, figure, verdict, code):
    claim = bench.claims.Claim("x", "w", "Cholesky", [figure] * 3, goal=1.0, floor=2.0)
    assert (claim.verdict, claim.emit()) == (verdict, code)
    assert replace(claim, refused="BENCH_QUALITY").code == "BENCH_QUALITY"


def test_broken_comes_before_failed_before_missing(bench):
    assert bench.claims.worst([0, 3, 1, 70]) == 70
    assert bench.claims.worst([0, 3, 1]) == 1
    assert bench.claims.worst([0, 3]) == 3
    assert bench.claims.worst([]) == 0


def test_a_benchmark_that_breaks_exits_seventy_and_shows_why(bench, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench"])

    def broken(given):
        raise ValueError("no such market")

    with pytest.raises(SystemExit) as ended:
        bench.lines.told(broken)
    assert ended.value.code == 70
    assert "no such market" in capsys.readouterr().err
