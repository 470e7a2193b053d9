from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quantctl.contracts.errors import ConfigError, ContractError, DataMissing, DataUnhealthy
from quantctl.contracts.records.snapshot import LakeSnapshot
from quantctl.lake import snapshot as store
from quantctl.lake.snapshot import Lake

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = date(2024, 1, 1)


def bars(symbols: int, days: int, start: date = FIRST, seed: int = 0) -> pl.DataFrame:
    names = pl.DataFrame({"symbol": [f"BINANCE:S{i:03d}USDT" for i in range(symbols)]})
    dates = pl.DataFrame({"date": [start + timedelta(days=i) for i in range(days)]})
    frame = names.join(dates, how="cross")
    close = pl.Series(np.random.default_rng(seed).uniform(1, 2, frame.height))
    midnight = (pl.col("date") + timedelta(days=1)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return frame.with_columns(
        open=close, high=close * 1.1, low=close * 0.9, close=close, volume=close * 100,
        source=pl.lit("test"), provenance=pl.lit("observed"), known_at=midnight, run_id=pl.lit("r"),
    )  # fmt: skip


def refused(lake: Lake, frame: pl.DataFrame) -> str:
    with pytest.raises(ContractError) as caught:
        lake.commit({"bars_1d": frame}, txn="bad", at=AT)
    return caught.value.code


def test_bad_rows_are_refused_and_leave_no_commit(tmp_path: Path) -> None:
    lake, good = Lake(tmp_path), bars(2, 3)
    assert refused(lake, pl.concat([good, good])) == "LAKE_KEY_DUPLICATE"
    assert refused(lake, good.drop("close")) == "LAKE_SCHEMA"
    assert refused(lake, good.with_columns(close=pl.lit("1"))) == "LAKE_SCHEMA"
    assert refused(lake, good.with_columns(symbol=pl.lit(None, pl.String))) == "LAKE_KEY_NULL"
    assert refused(lake, good.with_columns(close=pl.lit(float("nan")))) == "LAKE_NONFINITE"
    assert lake.history() == []
    with pytest.raises(ConfigError) as caught:
        lake.commit({"nonsense": good}, txn="bad", at=AT)
    assert caught.value.code == "LAKE_TABLE_UNKNOWN"


def test_latest_is_the_newest_published_version(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(DataMissing, match="no snapshot is published"):
        lake.snapshot()
    one = lake.commit({"bars_1d": bars(2, 3)}, txn="1", at=AT, published=True)
    two = lake.commit({"bars_1d": bars(2, 1, date(2024, 1, 4))}, txn="2", at=AT)
    assert lake.snapshot().id == one.id
    assert lake.snapshot(committed=True).id == two.id
    three = lake.publish(txn="3", at=AT, facts={"scanner_hashes": {"a": "1"}})
    assert Lake(tmp_path).snapshot().id == three.id
    assert lake.snapshot(one.id).bars().height == 6
    assert [entry.version for entry in lake.history()] == [1, 2, 3]
    assert [entry.version for entry in lake.snapshots()] == [1, 3]
    with pytest.raises(DataMissing, match="there is no snapshot"):
        lake.snapshot("snap-20240101-000000000000")


def test_a_replayed_transaction_is_applied_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    one = lake.commit({"bars_1d": bars(2, 3)}, txn="run/import", at=AT)
    lake.commit({"bars_1d": bars(2, 1, date(2024, 1, 4))}, txn="run/append", at=AT)
    again = Lake(tmp_path).commit({"bars_1d": bars(2, 3)}, txn="run/import", at=AT)
    assert again.id == one.id
    assert len(lake.history()) == 2


def test_equal_content_has_an_equal_id_at_any_time_of_writing(tmp_path: Path) -> None:
    ids = {
        Lake(tmp_path / name).commit({"bars_1d": bars(2, 3)}, txn=name, at=at, published=True).id
        for name, at in (("a", AT), ("b", AT + timedelta(days=9)))
    }
    assert len(ids) == 1


def test_logical_hash_ignores_row_order_part_layout_and_run(tmp_path: Path) -> None:
    whole = bars(3, 4)
    one = Lake(tmp_path / "1").commit({"bars_1d": whole.reverse()}, txn="1", at=AT, published=True)
    two = Lake(tmp_path / "2")
    for i, piece in enumerate(
        whole.with_columns(run_id=pl.lit("other")).partition_by("date", maintain_order=True)
    ):
        two.commit({"bars_1d": piece}, txn=str(i), at=AT)
    split = two.publish(txn="p", at=AT)
    assert len(split.parts("bars_1d")) == 4
    assert one.logical_hash("bars_1d") == split.logical_hash("bars_1d")
    changed = whole.with_columns(close=pl.col("close") + 1e-12)
    other = Lake(tmp_path / "3").commit({"bars_1d": changed}, txn="1", at=AT, published=True)
    assert other.logical_hash("bars_1d") != one.logical_hash("bars_1d")


def test_a_new_column_reads_null_in_old_parts_and_a_retyped_one_is_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.commit({"bars_1d": bars(1, 2)}, txn="1", at=AT)
    wider = bars(1, 1, date(2024, 1, 3)).with_columns(taker_volume=pl.lit(5.0))
    snap = lake.commit({"bars_1d": wider}, txn="2", at=AT, published=True)
    assert snap.bars().get_column("taker_volume").to_list() == [None, None, 5.0]
    assert refused(lake, bars(1, 1).with_columns(taker_volume=pl.lit("x"))) == "LAKE_SCHEMA"


def test_many_commits_move_parts_into_segments_and_lose_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for day in range(70):
        snap = lake.commit({"bars_1d": bars(1, 1, FIRST + timedelta(days=day))}, txn=str(day), at=AT)
    assert len(snap.manifest.tables["bars_1d"].segments) == 1
    assert lake.snapshot(snap.id).bars().get_column("date").n_unique() == 70
    lake.publish(txn="publish", at=AT)
    assert lake.verify().parts == 70


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_part_is_snapshot_corrupt(tmp_path: Path, damage: str) -> None:
    lake = Lake(tmp_path)
    snap = lake.commit({"bars_1d": bars(2, 50)}, txn="1", at=AT, published=True)
    path = snap.parts("bars_1d")[0].path(tmp_path, "bars_1d")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(bytes(data) if damage == "flip" else bytes(data[:-100]))
    with pytest.raises(DataUnhealthy) as caught:
        lake.verify()
    assert caught.value.code == "SNAPSHOT_CORRUPT"
    with pytest.raises(DataUnhealthy, match="the part"):
        lake.snapshot().hashed().bars()
    if damage != "flip":
        with pytest.raises(DataUnhealthy, match="the part"):
            lake.snapshot().bars()


def test_a_damaged_manifest_or_log_is_found(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for i in range(3):
        snap = lake.commit(
            {"bars_1d": bars(1, 1, FIRST + timedelta(days=i))}, txn=str(i), at=AT, published=True
        )
    assert lake.verify(every=True).parts == 3
    entry = tmp_path / "log" / "000000000002"
    whole = entry.read_bytes()
    entry.write_bytes(whole.replace(b'"txn":"1"', b'"txn":"9"'))
    with pytest.raises(DataUnhealthy, match="does not follow"):
        lake.verify()
    entry.write_bytes(whole)
    manifest = tmp_path / "manifests" / f"{snap.manifest_sha256}.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(DataUnhealthy, match="the manifest is altered"):
        lake.snapshot()


def test_record_of_a_pinned_snapshot_meets_its_contract(tmp_path: Path) -> None:
    snap = Lake(tmp_path).commit({"bars_1d": bars(2, 3)}, txn="1", at=AT, published=True)
    record = LakeSnapshot.model_validate(snap.record())
    assert record.as_of == "2024-01-03"
    assert record.tables["bars_1d"].rows == 6


def test_a_writer_that_keeps_losing_stops_with_contention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path, writer_wait_s=0.05)
    monkeypatch.setattr(store.Log, "append", lambda *_: False)
    with pytest.raises(DataUnhealthy) as caught:
        lake.commit({"bars_1d": bars(1, 1)}, txn="1", at=AT)
    assert caught.value.code == "LAKE_CONTENTION"


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import test_lake_commit as T
from quantctl.lake.snapshot import Lake
point, root = int(sys.argv[1]), Path(sys.argv[2])
seen = 0
def count(event, args):
    global seen
    mine = args and any(isinstance(a, str) and a.startswith(str(root)) for a in args)
    if event in ("open", "os.rename", "os.link", "os.mkdir", "os.remove") and mine:
        seen += 1
        if seen == point:
            os.kill(os.getpid(), signal.SIGKILL)
lake = Lake(root)
frame = T.bars(2, 1, T.date(2024, 1, 4))
sys.addaudithook(count)
lake.commit({"bars_1d": frame}, txn="second", at=T.AT, published=True)
print(seen)
"""


def _child(root: Path, point: int) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", CHILD, str(point), str(root), "", str(Path(__file__).parent)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_sigkill_anywhere_in_a_commit_leaves_all_or_nothing(tmp_path: Path) -> None:
    points, point = 0, 1
    while True:
        root = tmp_path / str(point)
        Lake(root).commit({"bars_1d": bars(2, 3)}, txn="first", at=AT, published=True)
        done = _child(root, point)
        killed = done.returncode == -signal.SIGKILL
        assert killed or done.returncode == 0, done.stderr
        lake = Lake(root)
        assert lake.snapshot().bars().height == 3 * 2 + (2 if len(lake.history()) == 2 else 0)
        assert lake.verify(every=True).problems == []
        for _ in range(2):
            lake.commit({"bars_1d": bars(2, 1, date(2024, 1, 4))}, txn="second", at=AT, published=True)
        assert [e.txn for e in lake.history()] == ["first", "second"]
        assert lake.snapshot().bars().height == 8
        if not killed:
            break
        points, point = points + 1, point + (1 if points % 2 else 2)
    assert points >= 6


def _write(root: Path, worker: int, number: int) -> None:
    lake = Lake(root)
    for i in range(number):
        frame = bars(2, 1, FIRST + timedelta(days=worker * 100 + i), seed=worker)
        lake.commit({"bars_1d": frame}, txn=f"{worker}/{i}", at=AT, published=True)


def test_four_writers_and_two_readers_lose_nothing_and_read_nothing_torn(tmp_path: Path) -> None:
    Lake(tmp_path).commit({"bars_1d": bars(2, 1, date(2023, 1, 1))}, txn="0", at=AT, published=True)
    stop = threading.Event()
    torn: list[str] = []

    def look() -> None:
        last = 0
        while not stop.is_set():
            snap = Lake(tmp_path).snapshot()
            rows = sum(part.rows for part in snap.parts("bars_1d"))
            if rows != snap.manifest.tables["bars_1d"].rows or rows < last or rows % 2:
                torn.append(snap.id)
            last = rows

    readers = [threading.Thread(target=look) for _ in range(2)]
    script = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]); "
    script += "import test_lake_commit as T; T._write(Path(sys.argv[1]), int(sys.argv[2]), 8)"
    for reader in readers:
        reader.start()
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(w), here]) for w in range(4)
    ]
    codes = [writer.wait() for writer in writers]
    stop.set()
    for reader in readers:
        reader.join()
    assert codes == [0] * 4
    assert torn == []
    lake = Lake(tmp_path)
    assert len(lake.history()) == 33
    assert lake.snapshot().bars().height == 66
    assert lake.verify(every=True).problems == []
