"""A request and the hash of its manifest."""

from __future__ import annotations

from quantctl.contracts.records.run import PROTOCOL, CodeFacts, RunRequest, manifest_hash


def request() -> RunRequest:
    code = CodeFacts(version="1", git_commit=None, dirty=None, lock_sha256=None, workflow_protocol=PROTOCOL)
    return RunRequest(
        run_id="r1", profile="p", trace_id="0" * 32, pipeline="alpha.full", created_at="2026-01-01T00:00:00Z",
        as_of="2026-01-01", annualisation=365, snapshot={}, settings={"a": 1}, origins={}, extends_chain=[],
        profile_sha256=[], code=code, env={}, arguments={}, stages=["s"], replay=[],
    )  # fmt: skip


def test_a_changed_copy_has_the_hash_of_its_own_manifest() -> None:
    first = request()
    assert first.manifest_sha256 == manifest_hash(first.manifest())
    copied = first.model_copy(update={"run_id": "r2", "settings": {"a": 2}})
    assert copied.manifest_sha256 == manifest_hash(copied.manifest()) != first.manifest_sha256
    assert copied.manifest()["manifest_sha256"] == copied.manifest_sha256


def test_a_kept_hash_is_no_field() -> None:
    asked = request()
    before = asked.model_dump()
    assert asked.manifest_sha256
    assert asked.model_dump() == before
    assert asked == request() == RunRequest.model_validate(before)


def test_the_hash_of_older_runs_counted_where_places_were_named() -> None:
    here, there = (
        request().model_copy(update={"origins": {"paths.data_dir": place, "htr.floor": "cli"}}).manifest()
        for place in ("env", "cli")
    )
    assert manifest_hash(here) == manifest_hash(there)
    older = [manifest_hash(made, with_origins_of_places=True) for made in (here, there)]
    assert older[0] != older[1]
