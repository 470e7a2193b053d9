"""Two real but tiny stages, for tests of the runner: a doubling and a sum, with a gate between."""

from __future__ import annotations

import os
import signal
import sys
import time

import polars as pl

from quantctl.contracts.artifacts import ARTIFACTS, Row
from quantctl.contracts.errors import DataMissing
from quantctl.contracts.settings.sleeve import SleeveSettings
from quantctl.contracts.stage import Finding, Judgement, Loaded, Outcome, RunFacts, StageParams, gate, stage
from quantctl.workflows import pipelines


class TinyParams(StageParams):
    """The sleeve decides whether the second stage likes its input."""

    sleeve: SleeveSettings


def _dawdle(stage: str) -> None:
    """Sleep `TINY_SLOW` seconds in the stage `TINY_SLOW_AT`, the first one if that is not said."""
    if os.environ.get("TINY_SLOW_AT", "tiny.double") == stage:
        time.sleep(float(os.environ.get("TINY_SLOW", "0")))


@stage("tiny.double", writes=("tiny_doubled",), params=TinyParams)
def double(*, params: TinyParams, run: RunFacts) -> Outcome:
    """Double the integers 0..9."""
    _dawdle("tiny.double")
    frame = pl.DataFrame({"x": list(range(10))}).with_columns(y=pl.col("x") * 2)
    finding = Finding(level="INFO", code="TINY", message=f"doubled for {run.run_id}")
    return Outcome({"tiny_doubled": frame}, [finding], {"rows": frame.height})


@stage("tiny.careless", writes=("tiny_total",))
def careless(tiny_doubled: pl.DataFrame) -> Outcome:
    """A deliberately wrong effect: it appends to a file outside the runner's care (positive control)."""
    with open(os.environ["TINY_CARELESS"], "a") as stream:
        stream.write("once\n")
    if not os.path.exists(os.environ["TINY_CARELESS"] + ".killed"):
        open(os.environ["TINY_CARELESS"] + ".killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome({"tiny_total": {"sum": int(tiny_doubled["y"].sum())}})


@gate("tiny_rows", stage="tiny.double", order=1, writes="tiny_verdict")
def rows(tiny_doubled: Loaded[pl.DataFrame]) -> Judgement:
    """There are ten rows."""
    height = tiny_doubled.value.height if tiny_doubled.value is not None else 0
    wrong = [Finding(level="ERROR", code="TINY_ROWS", message=f"{height} rows")] if height != 10 else []
    return Judgement(wrong, {"rows": height})


@stage("tiny.total", writes=("tiny_total",), params=TinyParams)
def total(tiny_doubled: pl.DataFrame, *, params: TinyParams) -> Outcome:
    """Sum what was doubled; a SHORT sleeve is refused."""
    _dawdle("tiny.total")
    if "TINY_GREEDY" in os.environ:
        bytearray(1 << 46)  # more than there is: a real MemoryError
    if params.sleeve.direction == "SHORT" or "TINY_FAILS" in os.environ:
        raise DataMissing("ISOLATION_INPUT_MISSING", "tiny does not like shorts", where="sleeve.direction")
    return Outcome({"tiny_total": {"sum": int(tiny_doubled["y"].sum())}})


@stage("tiny.blind", writes=("tiny_total",))
def blind() -> Outcome:
    """A stage that reads nothing, before a gate that does."""
    _dawdle("tiny.blind")
    return Outcome({"tiny_total": {"sum": 0}})


@gate("tiny_late", stage="tiny.blind", order=1, writes="tiny_late_verdict")
def late(tiny_doubled: Loaded[pl.DataFrame]) -> Judgement:
    """There are ten rows, still."""
    return rows(tiny_doubled)


def register() -> None:
    """Make `tiny.full` a pipeline of this process."""
    sys.modules["quantctl.tiny"] = sys.modules[__name__]
    ARTIFACTS.update({
        "tiny_doubled": Row("data/tiny.parquet", "parquet"),
        "tiny_total": Row("data/tiny_total.json", "json"),
        "tiny_verdict": Row("data/gates/tiny.json", "json", "records.verdict:Verdict"),
    })  # fmt: skip
    ARTIFACTS["tiny_late_verdict"] = Row("data/gates/tiny_late.json", "json", "records.verdict:Verdict")
    last = "tiny:careless" if "TINY_CARELESS" in os.environ else "tiny:total"
    pipelines.PIPELINES["tiny.full"] = ("tiny:double", last)
    pipelines.PIPELINES["tiny.gated"] = ("tiny:double", "tiny:blind")
    pipelines.GATES["tiny.double"] = ("tiny:rows",)
    pipelines.GATES["tiny.blind"] = ("tiny:late",)
