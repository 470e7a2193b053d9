"""The views over a ledger: attempts, events, children, workers, durations, held to what was booked."""

from __future__ import annotations

from typing import Any

import pytest

from quantctl.lake import ledger
from quantctl.lake.catalog import ON_VIEWS, VIEWS, with_grounds
from quantctl.lake.ledger import Draft
from quantctl.lake.live_sql import answer
from quantctl.workflows import book
from quantctl.workflows.projection import project_run
from quantctl.workflows.sql_files import definitions, sentences
from quantctl.workflows.surface import live_surface


def live(made: Any, query: str) -> list[tuple[Any, ...]]:
    return answer(live_surface(made.places), query)[1]


def test_every_file_of_sql_is_a_view_with_a_sentence() -> None:
    assert set(definitions()) == set(VIEWS)
    assert all(text.endswith((".", ";")) and text[0].isupper() for text in sentences().values())


def test_a_view_that_reads_another_is_made_after_it() -> None:
    assert with_grounds(["durations"]) == ["stages", "durations"]
    assert set(with_grounds(VIEWS)) == set(VIEWS)
    for view, grounds in ON_VIEWS.items():
        assert all(f" {ground} " in definitions()[view] for ground in grounds)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_answers_live_and_projected_alike(booked_file: Any, view: str) -> None:
    booked_file.run("a", retries=1)
    before = live(booked_file, f"SELECT * FROM {view}")
    project_run(booked_file.places, "a")
    assert sorted(map(str, live(booked_file, f"SELECT * FROM {view}"))) == sorted(map(str, before))


def test_attempts_tell_where_each_began_and_how_it_ended(booked_file: Any) -> None:
    booked_file.run("a", retries=2)
    assert live(booked_file, "SELECT attempt, from_stage, state, exit_code, code, records FROM attempts"
                " ORDER BY attempt") == [
        (1, None, "FAILED", 3, "CANDIDATES_EMPTY", 10),
        (2, "selection.ingestion", "FAILED", 3, "CANDIDATES_EMPTY", 6),
        (3, "selection.ingestion", "SUCCESS", 0, None, 6),
    ]  # fmt: skip


def test_an_open_attempt_is_open(booked_file: Any) -> None:
    booked_file.begin("a")
    assert live(booked_file, "SELECT attempt, state, closed_at FROM attempts") == [(1, "OPEN", None)]


def test_workers_and_durations_count_runs_and_lives(booked_file: Any) -> None:
    booked_file.run("a")
    booked_file.run("b")
    booked_file.begin("c")
    assert live(booked_file, "SELECT worker, runs, lives, killed, open_lives FROM workers") == [
        ("w", 3, 3, 0, 1)
    ]
    found = live(booked_file, "SELECT profile, stage, runs FROM durations ORDER BY stage")
    assert found == [("p", "foundation.gate", 2), ("p", "selection.ingestion", 2)]


def test_events_and_children_are_what_a_parent_booked(booked_file: Any) -> None:
    parent = booked_file.begin("parent")
    end = {"run_id": "parent-1", "suffix": "1", "profile": "p", "as_of": "2026-01-01", "state": "SUCCESS",
           "code": None, "head_seq": 9, "head_hash": "f" * 64}  # fmt: skip
    with booked_file.engine.begin() as sql:
        head = ledger.head(sql, parent.run_id)
        assert head is not None
        ledger.append(
            sql, head, [Draft("event", "info", "batch.children", 1, "CHILD_CLOSED", data=end)], book.now()
        )
    assert live(booked_file, "SELECT code, data->>'suffix' FROM events") == [("CHILD_CLOSED", "1")]
    assert live(booked_file, "SELECT parent, child, state, records, head_hash FROM children") == [
        ("parent", "parent-1", "SUCCESS", 10, "f" * 64)
    ]
