"""Artifacts and records that break their contract are refused before a byte is written, and when read."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quantctl.contracts.artifacts import ARTIFACTS
from quantctl.contracts.canonical import canonical, parse_strict
from quantctl.contracts.errors import ContractError, InternalError
from quantctl.lake import encoding, ledger
from quantctl.lake.rundir import RunDirectory

DATE = pl.Series([datetime(2024, 1, 1, tzinfo=UTC)], dtype=pl.Datetime("ns", "UTC"))
MATRIX = pl.DataFrame({"date": DATE, "BINANCE:AAAUSDT": [0.1], "BINANCE:BBBUSDT": [0.2]})


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("returns_matrix", MATRIX.drop("date"), "the first column is not `date`"),
        ("returns_matrix", MATRIX.with_columns(pl.col("date").dt.date()), "the first column is not `date`"),
        ("returns_matrix", MATRIX.with_columns(pl.lit("x").alias("BINANCE:CCCUSDT")), "BINANCE:CCCUSDT"),
        ("returns_matrix", MATRIX.select("date", "BINANCE:BBBUSDT", "BINANCE:AAAUSDT"), "sorted by symbol"),
        ("selection_scores", pl.DataFrame({"atom": ["A"]}), "contract failures"),
        ("foundation_report", {"window": {}}, "contract failures; first at run_id: Field required"),
        ("portfolio_candidates_raw", {"run_id": "r", "profile": "p", "as_of": "x", "rows": [], "more": 1},
         "first at more: Extra inputs"),
    ],
)  # fmt: skip
def test_a_value_that_breaks_its_contract_is_never_written(
    tmp_path: Path, name: str, value: Any, told: str
) -> None:
    with pytest.raises(ContractError) as caught:
        RunDirectory(tmp_path, "r", "p").write(name, value)
    assert (caught.value.code, caught.value.exit_code) == ("ARTIFACT_CONTRACT", 1)
    assert told in caught.value.message
    assert caught.value.where.startswith(ARTIFACTS[name].path)
    assert caught.value.remedy
    assert _files(tmp_path) == []


def test_a_file_whose_columns_were_changed_is_not_read() -> None:
    good, _ = encoding.encode("returns_matrix", MATRIX)
    assert encoding.decode("returns_matrix", good).equals(MATRIX)
    altered = encoding.frame_bytes(MATRIX.rename({"date": "day"}))
    with pytest.raises(ContractError, match="the first column is not `date`") as caught:
        encoding.decode("returns_matrix", altered)
    assert caught.value.code == "ARTIFACT_CONTRACT"


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": 1, "a": 2}', '{"a": 1', "", "\xff"]
)
def test_a_document_that_is_not_strict_json_is_not_read(text: str) -> None:
    with pytest.raises(ContractError, match="not strict JSON") as caught:
        encoding.decode("foundation_report", text.encode("latin-1"))
    assert (caught.value.code, caught.value.exit_code) == ("ARTIFACT_INVALID_JSON", 1)
    assert caught.value.where == "data/foundation_report.json"
    assert parse_strict('{"a": 1, "b": {"a": 2}}') == {"a": 1, "b": {"a": 2}}


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1.0, math.nan]}, "$.a[1]"),
        ({"a": {"b": math.inf}}, "$.a.b"),
        ({"a": -math.inf}, "$.a"),
        ({"a": {1: 2}}, "$.a"),
        ({"a": [Path("x")]}, "$.a[0]"),
    ],
)
def test_what_has_no_json_form_is_named_by_its_place(value: dict[str, Any], where: str) -> None:
    with pytest.raises(InternalError) as caught:
        canonical(value)
    assert (caught.value.code, caught.value.exit_code) == ("ARTIFACT_NONFINITE", 70)
    assert caught.value.where == where


def test_a_record_holds_16_kib_and_no_more(tmp_path: Path) -> None:
    import sqlalchemy as sa

    from quantctl.lake.state import default_url, open_engine

    at, now = ledger.begin("r", "p", "0" * 32), datetime(2026, 1, 1, tzinfo=UTC)
    room = ledger.MAX_DATA_BYTES - len(canonical({"note": ""}))
    full, over = (
        ledger.Draft("event", "success", step="s", data={"note": "x" * n}) for n in (room, room + 1)
    )
    with open_engine(default_url(tmp_path)).connect() as sql:
        with pytest.raises(InternalError, match="exceeds 16 KiB; it belongs in an artifact") as caught:
            ledger.append(sql, at, [full, over], now)
        assert (caught.value.code, caught.value.exit_code) == ("LEDGER_VALUE", 70)
        assert sql.execute(sa.text("SELECT count(*) FROM run_ledger")).scalar() == 0  # nor the sound one
        assert ledger.append(sql, at, [full], now).seq == 0
