"""The state database in Postgres: reading, tables, faults, and secrets that stay secret."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from quantctl.contracts.errors import ConfigError, EnvironmentFault, StateUnreachable
from quantctl.lake import state, state_postgres

SECRET = "hunter2secret"


def test_rows_are_read_by_index_and_by_name(postgres_url: str) -> None:
    _insert(postgres_url, "a")
    with state.reader(postgres_url) as reader:
        assert reader is not None
        row = reader.execute("SELECT run_id, profile, head_seq FROM runs WHERE run_id = ?", ("a",)).fetchone()
    assert (row[0], row["profile"], row["head_seq"]) == ("a", "p", -1)
    assert dict(row) == {"run_id": "a", "profile": "p", "head_seq": -1}
    assert tuple(row) == ("a", "p", -1)


def test_the_engines_tables_are_read_by_the_same_sql(postgres_url: str) -> None:
    with state.reader(postgres_url) as reader:
        assert reader is not None
        assert reader.execute("SELECT count(*) FROM workflow_status").fetchone()[0] == 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT ? AS a, '?' AS b", "SELECT $1 AS a, '?' AS b"),
        ("SELECT 'it''s ?', ? -- why?\n, ?", "SELECT 'it''s ?', $1 -- why?\n, $2"),
        ("SELECT \"odd?\" WHERE x LIKE '%' AND y = ?", "SELECT \"odd?\" WHERE x LIKE '%' AND y = $1"),
    ],
)  # fmt: skip
def test_only_free_question_marks_are_placeholders(query: str, expected: str) -> None:
    assert state_postgres.numbered(query) == expected


def test_a_value_is_never_sql(postgres_url: str) -> None:
    hostile = "x'; DROP TABLE runs; -- ? %s $1"
    _insert(postgres_url, hostile)
    with state.reader(postgres_url) as reader:
        assert reader is not None
        found = reader.execute("SELECT run_id FROM runs WHERE run_id = ?", (hostile,)).fetchall()
    assert [row[0] for row in found] == [hostile]


def test_a_writer_that_sleeps_after_many_rows_is_put_out(postgres_url: str) -> None:
    """So that it keeps no run locked; after rows that the driver pipelines Postgres 15 lets it sleep on."""
    engine, given = state.open_engine(postgres_url), [{"r": f"r{number}"} for number in range(3)]
    with engine.connect() as sql:
        sql.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 200"))
        state.each(sql, "INSERT INTO cancellations (run_id, attempt, reason) VALUES (:r, 1, 'no')", given)
        time.sleep(1)
        with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"):
            sql.execute(sa.text("SELECT 1"))
    engine.dispose()
    with state.reader(postgres_url) as reader:
        assert reader is not None
        assert reader.execute("SELECT count(*) FROM cancellations").fetchone()[0] == 0


def test_a_reader_cannot_write_and_sees_one_view(postgres_url: str) -> None:
    with state.reader(postgres_url) as reader:
        assert reader is not None
        assert reader.execute("SELECT count(*) FROM runs").fetchone()[0] == 0
        _insert(postgres_url, "later")
        assert reader.execute("SELECT count(*) FROM runs").fetchone()[0] == 0
    with pytest.raises(StateUnreachable, match="read-only"), state.reader(postgres_url) as reader:
        reader.execute("DELETE FROM runs")


def test_text_is_ordered_by_bytes_as_in_sqlite(postgres_url: str) -> None:
    names = ["a_b", "B", "a-b", "aB", "_", "é", "Z1", "a1"]
    for name in names:
        _insert(postgres_url, name)
    with state.reader(postgres_url) as reader:
        assert reader is not None
        found = [row[0] for row in reader.execute("SELECT run_id FROM runs ORDER BY run_id")]
    assert found == sorted(names, key=str.encode)


def test_an_empty_database_has_no_tables_yet(postgres_server: Any) -> None:
    with pytest.raises(state.TablesMissing), state.reader(postgres_server.empty()) as reader:
        reader.execute("SELECT 1 FROM runs")


def test_the_tables_are_made_by_many_at_once(postgres_server: Any) -> None:
    url = postgres_server.empty()
    with ThreadPoolExecutor(8) as pool:
        started = [pool.submit(lambda: state.open_engine(url).dispose()) for _ in range(8)]
    assert [future.exception() for future in started] == [None] * 8


def test_what_was_written_last_stands_last(postgres_url: str) -> None:
    engine = state.open_engine(postgres_url)
    insert = (
        "INSERT INTO artifact_index (run_id, path, name, sha256, bytes, contract, step, attempt)"
        " VALUES ('r', :path, 'n', :sha, 3000000000, 'c', 's', 1)"
        " ON CONFLICT (run_id, path) DO UPDATE SET sha256 = excluded.sha256"
    )
    with engine.begin() as sql:
        for path, sha in (("z", "1"), ("a", "2"), ("z", "3")):
            sql.execute(sa.text(insert), {"path": path, "sha": sha})
    engine.dispose()
    with state.reader(postgres_url) as reader:
        assert reader is not None
        found = reader.execute("SELECT path, sha256, bytes FROM artifact_index ORDER BY rowid").fetchall()
    assert [tuple(row) for row in found] == [("z", "3", 3_000_000_000), ("a", "2", 3_000_000_000)]


def test_a_server_that_is_away_is_unreachable_and_keeps_the_password() -> None:
    url = f"postgresql://who:{SECRET}@127.0.0.1:1/db"
    for use in (lambda: state.open_engine(url), lambda: state.reader(url).__enter__()):
        with pytest.raises(StateUnreachable) as caught:
            use()
        fault = caught.value
        assert (fault.code, fault.exit_code) == ("STATE_UNREACHABLE", 5)
        assert fault.where == "postgresql://who@127.0.0.1:1/db"
        assert SECRET not in str(fault) + fault.remedy + repr(fault.args)


def test_a_database_that_is_not_there_is_unreachable(postgres_server: Any) -> None:
    with (
        pytest.raises(StateUnreachable, match="does not exist"),
        state.reader(postgres_server.url("nowhere")),
    ):
        pass


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@x@host/db",
        f"postgresql://u:{SECRET}/y@host/db",
        f"postgresql://u:{SECRET}#z@host:12/db",
        f"postgresql://host:{SECRET}/db",
        f"postgresql://u@host/db?passwort={SECRET}",
        f"postgresql://u:%zz{SECRET}@host/db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_not_repeated(url: str) -> None:
    for use in (lambda: state.open_engine(url), lambda: state.reader(url).__enter__()):
        with pytest.raises(ConfigError) as caught:
            use()
        assert caught.value.code == "STATE_URL_INVALID"
        assert SECRET not in str(caught.value) + caught.value.remedy


def test_a_shown_url_has_no_secret_wherever_it_was_given() -> None:
    at = state.display
    assert at(f"postgres://u:{SECRET}@h:5/d") == "postgresql://u@h:5/d"
    assert at(f"postgresql:///d?host=/run/pg&user=u&password={SECRET}&port=7") == "postgresql://u@/run/pg:7/d"
    assert at("sqlite:////a/b.sqlite") == "sqlite:////a/b.sqlite"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_scheme_reaches_the_server(scheme: str, postgres_url: str) -> None:
    url = scheme + "://" + postgres_url.split("://", 1)[1]
    assert state.is_postgres(url)
    assert state.normal(url) == postgres_url
    state.open_engine(url).dispose()
    with state.reader(url) as reader:
        assert reader is not None
        assert reader.execute("SELECT 1").fetchone()[0] == 1


def test_a_socket_directory_reaches_the_server(postgres_server: Any) -> None:
    url = postgres_server.url("postgres", socket_directory=True)
    with state.reader(url) as reader:
        assert reader is not None
        assert reader.execute("SELECT 1").fetchone()[0] == 1


def test_a_scheme_that_is_neither_is_unsupported_and_not_repeated() -> None:
    for url in (f"mysql://u:{SECRET}@h/d", SECRET, "sqlite://relative"):
        with pytest.raises(ConfigError) as caught:
            state.is_postgres(url)
        assert caught.value.code == "STATE_URL_UNSUPPORTED"
        assert SECRET not in str(caught.value)


def test_a_connection_cut_while_booking_is_a_fault_and_outside_an_error(postgres_server: Any) -> None:
    url = postgres_server.database()
    engine = state.open_engine(url)
    cut = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(sa.exc.DBAPIError), engine.begin() as sql:
        sql.execute(cut)
    with pytest.raises(EnvironmentFault) as caught, state.faults(url), engine.begin() as sql:
        sql.execute(cut)
    assert caught.value.code == "STATE_UNREACHABLE"
    engine.dispose()


@pytest.mark.parametrize(
    ("sqlstate", "environment"),
    [("53100", True), ("57P01", True), ("08006", True), ("58030", True), ("25006", True),
     ("28P01", True), ("3D000", True), ("42501", True), ("55P03", True), ("XX001", True),
     ("40001", False), ("40P01", False), ("23505", False), ("57014", False), ("42P01", False)],
)  # fmt: skip
def test_conflicts_and_mistakes_are_no_fault_of_the_environment(sqlstate: str, environment: bool) -> None:
    assert state_postgres.is_environment(psycopg.errors.lookup(sqlstate)("x")) is environment


def _insert(url: str, run_id: str) -> None:
    engine = state.open_engine(url)
    with engine.begin() as sql:
        sql.execute(
            sa.text("INSERT INTO runs (run_id, profile, pipeline, trace_id, created_at, state, attempt,"
                    " head_seq, head_hash, head_ts)"
                    " VALUES (:r, 'p', 'l', 't', 'c', 'RUNNING', 1, -1, 'h', '')"),
            {"r": run_id},
        )  # fmt: skip
    engine.dispose()
