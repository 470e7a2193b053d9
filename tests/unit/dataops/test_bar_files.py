from __future__ import annotations

import hashlib
import json
import zipfile
from datetime import UTC, datetime

import polars as pl
import pytest

from quantctl.contracts.errors import QuantError
from quantctl.lake.sources.files import Reading, read_bars

DAY_MS = 86_400_000
START_MS = 1_704_067_200_000  # 2024-01-01


def kline(i, step=DAY_MS, factor=1):
    start = (START_MS + i * step) * factor
    return [
        start,
        "1.5",
        "2.0",
        "1.0",
        "1.75",
        "100.5",
        start + step * factor - factor,
        "170.1",
        12,
        "1",
        "2",
        "0",
    ]


def code_of(function, *args):
    with pytest.raises(QuantError) as caught:
        function(*args)
    return caught.value.code


def read(path, exchange="BINANCE", **options):
    return read_bars(path, Reading(options.pop("mapping", {}), exchange, **options))


def archive(path, rows, *, header=False, name="BTCUSDT-1d-2024-01.csv"):
    lines = (
        ["open_time,open,high,low,close,volume,close_time,quote_volume,count,tb,tq,ignore"] if header else []
    )
    lines += [",".join(str(v) for v in row) for row in rows]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("factor", [1, 1000])
@pytest.mark.parametrize("header", [False, True])
def test_archives_in_ms_and_us_with_and_without_header_read_alike(tmp_path, factor, header):
    path = archive(
        tmp_path / "BTCUSDT-1d-2024-01.zip", [kline(0, factor=factor), kline(1, factor=factor)], header=header
    )
    rows = read(path).rows
    assert rows["symbol"].to_list() == ["BINANCE:BTCUSDT"] * 2
    assert rows["stamp"].to_list() == [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)]
    assert rows.select("open", "volume", "quote_volume", "trades").row(0) == (1.5, 100.5, 170.1, 12)


@pytest.mark.parametrize(("scale", "unit"), [(1000, "s"), (1, "ms")])
def test_epoch_unit_goes_by_magnitude(tmp_path, scale, unit):
    path = tmp_path / f"bars_{unit}.csv"
    path.write_text(f"ticker,time,o,h,l,c,v\nAUSDT,{START_MS // scale},1,2,1,2,5\n")
    assert read(path).rows["stamp"][0] == datetime(2024, 1, 1, tzinfo=UTC)


def test_archives_are_held_to_their_checksum(tmp_path):
    path = archive(tmp_path / "BTCUSDT-1d-2024-01.zip", [kline(0)])
    beside = path.with_name(path.name + ".CHECKSUM")
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert read(path).rows.height == 1
    beside.write_text("0" * 64)
    assert code_of(read, path) == "IMPORT_CHECKSUM"


@pytest.mark.parametrize("name", ["../x.csv", "/x.csv", "a/../../x.csv"])
def test_archives_with_unsafe_paths_are_refused(tmp_path, name):
    path = archive(tmp_path / "BTCUSDT-1d-2024-01.zip", [kline(0)], name=name)
    assert code_of(read, path) == "IMPORT_ARCHIVE_UNSAFE"


def test_kline_arrays_are_read_from_their_strings(tmp_path):
    path = tmp_path / "klines_ETHUSDT.json"
    path.write_text(json.dumps([kline(0), kline(1)]))
    assert read(path).rows["close"].to_list() == [1.75, 1.75]


def test_a_kline_with_a_missing_field_is_malformed(tmp_path):
    path = tmp_path / "klines_ETHUSDT.json"
    path.write_text(json.dumps([kline(0), kline(1)[:-1]]))
    assert code_of(read, path) == "KLINE_MALFORMED"


def test_klines_of_another_interval_are_refused(tmp_path):
    path = tmp_path / "klines_ETHUSDT.json"
    path.write_text(json.dumps([kline(0, 3 * DAY_MS), kline(1, 3 * DAY_MS)]))
    assert code_of(read, path) == "IMPORT_INTERVAL"


def test_an_unreadable_value_names_its_row(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_text("symbol,date,open,high,low,close\nA,2024-01-01,1,2,1,2\nA,2024-01-02,1,x,1,2\n")
    with pytest.raises(QuantError) as caught:
        read(path)
    assert caught.value.code == "IMPORT_PARSE"
    assert caught.value.details == {"row": 2}


def test_unprefixed_symbols_need_an_exchange(tmp_path):
    path = tmp_path / "bars.parquet"
    pl.DataFrame({"symbol": ["a"], "date": ["2024-01-01"], "close": [1.0]}).write_parquet(path)
    assert code_of(read, path, None) == "IMPORT_COLUMNS"
    with pytest.raises(QuantError) as caught:
        read(path, None, close_only=True)
    assert caught.value.code == "IMPORT_EXCHANGE"
    assert read(path, "NYSE", close_only=True).rows["symbol"].to_list() == ["NYSE:A"]


def test_a_map_overrides_the_recognised_names_and_is_checked(tmp_path):
    path = tmp_path / "bars.parquet"
    frame = pl.DataFrame({"symbol": ["X:A"], "date": ["2024-01-01"], "close": [1.0], "adj": [0.5]})
    frame.with_columns(open=1.0, high=1.0, low=1.0).write_parquet(path)
    found = read(path, mapping={"close": "adj"})
    assert found.rows["close"].to_list() == [0.5]
    assert found.ignored == ["close"]
    with pytest.raises(QuantError) as caught:
        read(path, mapping={"close": "adjusted"})
    assert caught.value.code == "IMPORT_COLUMNS"


@pytest.mark.parametrize("text", ["2024-01-05T14:30:00Z", "2024-01-05 14:30:00", "2024-01-05T09:30:00-05:00"])
def test_iso_texts_are_utc_unless_they_say_otherwise(tmp_path, text):
    path = tmp_path / "bars.csv"
    path.write_text(f"symbol,timestamp,open,high,low,close\nX:A,{text},1,2,1,2\n")
    assert read(path).rows["stamp"][0] == datetime(2024, 1, 5, 14, 30, tzinfo=UTC)
