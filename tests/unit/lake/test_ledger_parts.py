"""The SQL surface: whole at every moment, current to the last commit, and the same however it came about."""

from __future__ import annotations

import itertools
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantctl.lake import ledger_index, retired_parts, state
from quantctl.lake.ledger_index import FAN_IN, LARGE, due, settled
from quantctl.lake.live_sql import answer
from quantctl.verification import verify_ledger
from quantctl.workflows.projection import project_run, rebuild_all
from quantctl.workflows.surface import live_surface

EVERYTHING = "SELECT run_id, seq, type, step, attempt, status, hash, data FROM ledger ORDER BY ALL"
COUNTS = "SELECT run_id, count(*) FROM ledger GROUP BY ALL ORDER BY ALL"


def live(book: Any, query: str) -> list[tuple[Any, ...]]:
    return answer(live_surface(book.places), query)[1]


def stock(book: Any, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(book.places.catalog), read_only=True) as connection:
        return connection.execute(query).fetchall()


def parts(book: Any) -> dict[str, bytes]:
    index = ledger_index.load(book.places.ledger_parts)
    assert index is not None
    return {name: (book.places.ledger_parts / name).read_bytes() for name in index.files()}


def test_sql_sees_each_commit_before_and_after_it_is_projected(booked: Any) -> None:
    request = booked.begin("a")
    assert live(booked, COUNTS) == [("a", 1)]
    project_run(booked.places, "a")
    assert stock(booked, COUNTS) == [("a", 1)]
    booked.stage(request, 0)
    assert live(booked, COUNTS) == [("a", 5)]
    assert stock(booked, COUNTS) == [("a", 1)]
    project_run(booked.places, "a")
    assert stock(booked, EVERYTHING) == live(booked, EVERYTHING)
    assert stock(booked, COUNTS) == [("a", 5)]


def test_a_life_that_begins_or_ends_without_a_record_is_seen(booked: Any) -> None:
    query = "SELECT life, worker, ended, reason FROM lives ORDER BY life"
    request = booked.run("a")
    project_run(booked.places, "a")
    assert live(booked, query) == stock(booked, query) == [(0, "w", "now", "finished")]
    with booked.engine.begin() as sql:
        sql.exec_driver_sql("INSERT INTO run_lives VALUES ('a', 1, 'v', 'then', NULL, NULL)")
    assert live(booked, query)[1:] == [(1, "v", None, None)]
    with booked.engine.begin() as sql:
        sql.exec_driver_sql("UPDATE run_lives SET ended = 'late', reason = 'KILLED' WHERE life = 1")
    assert live(booked, query)[1:] == [(1, "v", "late", "KILLED")]
    project_run(booked.places, request.run_id)
    assert stock(booked, query) == live(booked, query)


def test_a_run_that_is_retried_stands_once_in_the_surface(booked: Any) -> None:
    runs = [f"run_{n}" for n in range(FAN_IN + 1)]
    for run_id in runs[1:]:
        booked.run(run_id)
        project_run(booked.places, run_id)
    first = booked.run(runs[0], failed=True)
    project_run(booked.places, runs[0])
    for run_id in runs[1:]:  # merged beside it meanwhile
        project_run(booked.places, run_id)
    booked.set_aside(runs[0], "selection.ingestion")
    booked.stage(first, 1)
    project_run(booked.places, runs[0])
    booked.close(first)
    project_run(booked.places, runs[0])
    found = stock(booked, "SELECT run_id, attempt, state, from_stage FROM attempts ORDER BY ALL")
    assert found[:2] == [("run_0", 1, "FAILED", None), ("run_0", 2, "SUCCESS", "selection.ingestion")]
    assert stock(booked, EVERYTHING) == live(booked, EVERYTHING)
    assert len(stock(booked, "SELECT run_id FROM runs")) == len(runs)


def test_runs_projected_as_they_end_leave_the_bytes_of_a_rebuild(booked_file: Any) -> None:
    for n in range(2 * FAN_IN + 3):
        booked_file.run(f"run_{n:02d}", failed=n % 3 == 0)
        project_run(booked_file.places, f"run_{n:02d}")
    before, index = parts(booked_file), ledger_index.load(booked_file.places.ledger_parts)
    shutil.rmtree(booked_file.places.ledger_parts)
    booked_file.places.catalog.unlink()
    assert rebuild_all(booked_file.places) == 2 * FAN_IN + 3
    assert parts(booked_file) == before
    assert ledger_index.load(booked_file.places.ledger_parts) == index


@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_order_runs_were_projected_rows_and_a_rebuild_are_the_same(
    booked_file: Any, seed: int
) -> None:
    runs = [f"run_{n:02d}" for n in range(FAN_IN + 4)]
    for run_id in runs:
        booked_file.run(run_id)
    rebuild_all(booked_file.places)
    bytes_of, rows_of = parts(booked_file), stock(booked_file, EVERYTHING)
    shutil.rmtree(booked_file.places.ledger_parts)
    order = random.Random(seed).choices(runs, k=3 * len(runs)) + random.Random(seed).sample(runs, len(runs))
    ledger_index.save(_made(booked_file.places.ledger_parts), ledger_index.Index())
    for run_id in order:
        project_run(booked_file.places, run_id)
    assert stock(booked_file, EVERYTHING) == live(booked_file, EVERYTHING) == rows_of
    rebuild_all(booked_file.places)
    assert parts(booked_file) == bytes_of


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_a_surface_that_was_deleted_comes_back_whole_with_the_next_projection(booked_file: Any) -> None:
    for run_id in ("a", "b", "c"):
        booked_file.run(run_id)
        project_run(booked_file.places, run_id)
    shutil.rmtree(booked_file.places.ledger_parts)
    assert live(booked_file, COUNTS) == [("a", 10), ("b", 10), ("c", 10)]
    project_run(booked_file.places, "b")
    assert stock(booked_file, COUNTS) == [("a", 10), ("b", 10), ("c", 10)]


def test_an_index_of_another_layout_or_a_torn_one_counts_for_nothing(booked_file: Any) -> None:
    booked_file.run("a")
    project_run(booked_file.places, "a")
    path = booked_file.places.ledger_parts / "parts.json"
    for text in (path.read_text().replace(ledger_index.LAYOUT, "000000000000"), "{", "[]", '{"parts":[]}'):
        path.write_text(text)
        assert ledger_index.load(booked_file.places.ledger_parts) is None
        assert live(booked_file, COUNTS) == [("a", 10)]
    project_run(booked_file.places, "a")
    assert stock(booked_file, COUNTS) == [("a", 10)]


def test_runs_that_the_state_database_does_not_know_are_not_shown(booked_file: Any) -> None:
    booked_file.run("a")
    booked_file.run("b")
    rebuild_all(booked_file.places)
    with booked_file.engine.begin() as sql:
        for table in ("runs", "run_ledger", "run_lives", "artifact_index"):
            sql.exec_driver_sql(f"DELETE FROM {table} WHERE run_id = 'a'")
    assert live(booked_file, COUNTS) == [("b", 10)]


def test_a_reader_that_holds_the_catalogue_open_across_swaps_loses_nothing(booked_file: Any) -> None:
    booked_file.run("first")
    project_run(booked_file.places, "first")
    held = duckdb.connect(str(booked_file.places.catalog), read_only=True)
    cursor = held.execute("SELECT * FROM ledger a, range(20000) ORDER BY a.hash")
    cursor.fetchone()
    for n in range(2 * FAN_IN + 1):
        booked_file.run(f"run_{n}")
        project_run(booked_file.places, f"run_{n}")
        assert held.execute(COUNTS).fetchall() == [("first", 10)]
    rebuild_all(booked_file.places)
    assert held.execute(COUNTS).fetchall() == [("first", 10)]
    held.close()
    assert len(stock(booked_file, "SELECT run_id FROM runs")) == 2 * FAN_IN + 2


def test_a_result_that_is_still_streaming_survives_swaps(booked_file: Any) -> None:
    booked_file.run("first")
    project_run(booked_file.places, "first")
    with duckdb.connect(str(booked_file.places.catalog), read_only=True) as held:
        cursor = held.execute("SELECT run_id, seq FROM ledger, range(200000)")
        count = len(cursor.fetchmany(1000))
        for n in range(FAN_IN + 1):
            booked_file.run(f"run_{n}")
            project_run(booked_file.places, f"run_{n}")
        while rows := cursor.fetchmany(100_000):
            count += len(rows)
    assert count == 10 * 200_000


def test_parts_that_count_no_more_are_deleted_after_the_grace_period_only(
    booked_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(1000.0, retired_parts.LOOK_SECONDS + 1)
    monkeypatch.setattr(retired_parts.time, "time", lambda: next(clock))
    root = booked_file.places.ledger_parts
    request = booked_file.begin("a")
    project_run(booked_file.places, "a")
    old = set(parts(booked_file))
    booked_file.stage(request, 0)
    project_run(booked_file.places, "a")
    assert old <= {path.name for path in root.glob("*.parquet")}
    for _ in range(int(retired_parts.GRACE_SECONDS / retired_parts.LOOK_SECONDS) + 2):
        project_run(booked_file.places, "a")
    left = {path.name for path in root.glob("*.parquet")}
    assert left == set(parts(booked_file))
    assert not (old - left).isdisjoint(old)


def test_the_index_names_no_run_and_stays_small(booked_file: Any) -> None:
    for n in range(FAN_IN**2):
        booked_file.run(f"run_{n:03d}")
    ledger_index.save(_made(booked_file.places.ledger_parts), ledger_index.Index())
    sizes = []
    for n in range(FAN_IN**2):
        project_run(booked_file.places, f"run_{n:03d}")
        sizes.append(len(ledger_index.load(booked_file.places.ledger_parts).batches))  # type: ignore[union-attr]
    assert max(sizes) <= 2 * (FAN_IN - 1) + 1
    assert sizes[-1] == 1
    assert "run_" not in (booked_file.places.ledger_parts / "parts.json").read_text()


@given(st.lists(st.integers(1, 200), max_size=300))
def test_merging_keeps_every_run_once_and_few_batches(sizes: list[int]) -> None:
    batches = settled(list(enumerate(sizes)))
    assert sorted(run for batch in batches for run in batch) == list(range(len(sizes)))
    held = [sum(sizes[run] for run in batch) for batch in batches]
    assert not due(held)
    assert all(len(batch) == 1 or total <= LARGE for batch, total in zip(batches, held, strict=True))
    assert len(batches) <= (FAN_IN - 1) * 6


def test_ten_thousand_runs_stand_in_few_batches() -> None:
    for records in (1, 10, 100):
        batches = settled([(n, records) for n in range(10_000)])
        assert len(batches) <= 5 * FAN_IN + 3 * 10_000 * records // LARGE


def test_a_large_run_is_never_merged_and_blocks_nothing() -> None:
    sizes = [LARGE, *[1] * FAN_IN, LARGE]
    assert due(sizes) == list(range(1, FAN_IN + 1))
    assert due([LARGE] * 2 * FAN_IN) == []
    assert len(due([LARGE // 2] * FAN_IN)) == 2


def test_the_lock_of_one_projector_is_waited_for(booked_file: Any) -> None:
    for run_id in "abcdefgh":
        booked_file.run(run_id)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda run_id: project_run(booked_file.places, run_id), "abcdefgh"))
    assert [row[0] for row in stock(booked_file, COUNTS)] == list("abcdefgh")


def test_what_asks_for_the_list_of_views_sees_all_and_a_misspelt_one_is_suggested(booked_file: Any) -> None:
    booked_file.run("a")
    names = {row[0] for row in live(booked_file, "SHOW TABLES")}
    assert {"runs", "why_not", "durations"} <= names
    with pytest.raises(Exception, match="stages"):
        live(booked_file, "SELECT * FROM runs JOIN stagess USING (run_id)")


def test_a_query_reads_no_file_outside_and_writes_nothing(booked_file: Any, tmp_path: Path) -> None:
    booked_file.run("a")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for query, code in (
        (f"SELECT * FROM runs, read_csv('{tmp_path}/secret.csv')", "SQL_PATH_FORBIDDEN"),
        (f"COPY (SELECT 1) TO '{tmp_path}/out.csv'", "SQL_READ_ONLY"),
        ("SELECT 1; SELECT 2", "SQL_READ_ONLY"),
        ("DROP VIEW runs", "SQL_READ_ONLY"),
        ("SELECT nothing FROM runs", "SQL_INVALID"),
    ):
        with pytest.raises(Exception) as found:
            live(booked_file, query)
        assert found.value.code == code
    assert not (tmp_path / "out.csv").exists()


def test_without_a_state_database_the_views_are_empty(tmp_path: Path) -> None:
    from quantctl.workflows.runtime import Places

    places = Places(tmp_path, tmp_path, tmp_path, tmp_path, state.default_url(tmp_path))
    assert answer(live_surface(places), "SELECT count(*) FROM ledger")[1] == [(0,)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [None, b"", 100, 2000, -1], ids=str)
def test_an_audit_file_that_is_missing_or_torn_is_written_anew_with_the_same_bytes(
    booked_file: Any, kept: int | bytes | None
) -> None:
    booked_file.run("a", retries=1)
    path, head = (booked_file.places.run_root("a") / name for name in ("audit.jsonl", "audit_head.json"))
    whole, anchor = path.read_bytes(), head.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(whole[:kept] if isinstance(kept, int) else kept)
    head.unlink()
    rebuild_all(booked_file.places)
    assert (path.read_bytes(), head.read_bytes()) == (whole, anchor)


def test_an_audit_file_that_differs_inside_is_reported_and_not_repaired(booked_file: Any) -> None:
    booked_file.run("a")
    path = booked_file.places.run_root("a") / "audit.jsonl"
    forged = path.read_bytes().replace(b"padded", b"forged", 1)
    path.write_bytes(forged)
    rebuild_all(booked_file.places)
    assert path.read_bytes() == forged
    assert not verify_ledger(booked_file.places, "a")["ok"]
