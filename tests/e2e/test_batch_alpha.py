"""A batch of whole atomic runs: both sleeves of a small simulated market, and the weights they end in."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import front_door
import pytest

SLEEVES = (front_door.LONG, front_door.SHORT)


@pytest.fixture(scope="module")
def batch(fair: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small market with a finished batch `b1` of both sleeves at its last session."""
    door = fair.copy(tmp_path_factory.mktemp("batch"))
    day = door.sdk.newest_snapshot()["as_of"]
    profiles = [word for sleeve in SLEEVES for word in ("--profile", sleeve)]
    words = ("batch", *profiles, "--as-of", day, "--run-id", "b1", "--json")
    done = door(*words, sets=front_door.SLIM)
    assert done.exit == 0, done.out + done.err
    return door


def test_every_child_passes_and_is_anchored_with_the_weights_that_it_wrote(batch: Any) -> None:
    body = batch.file("b1", "data/batch.json")
    assert [(child["profile"], child["state"]) for child in body["children"]] == [
        (sleeve, "SUCCESS") for sleeve in SLEEVES
    ]
    written = {
        child["run_id"]: sha256(
            (batch.runs_dir / child["run_id"] / "data" / "portfolio_flattened.json").read_bytes()
        ).hexdigest()
        for child in body["children"]
    }
    assert {child["run_id"]: child["weights_sha256"] for child in body["children"]} == written
    closed = [record["data"] for record in batch.sdk.ledger("b1") if record["code"] == "CHILD_CLOSED"]
    assert {data["run_id"]: data["weights_sha256"] for data in closed} == written
    _, rows = batch.sdk.query_rows("SELECT child, weights_sha256 FROM children WHERE parent = 'b1'")
    assert dict(rows) == written
    assert len(set(written.values())) == len(SLEEVES)


def test_the_weights_of_all_children_answer_one_query(batch: Any) -> None:
    _, rows = batch.sdk.query_rows(
        "SELECT c.profile, count(*), min(w.weight), max(w.weight) FROM children c"
        " JOIN weights w ON w.run_id = c.child WHERE c.parent = 'b1' GROUP BY 1 ORDER BY 1"
    )
    assert [row[0] for row in rows] == list(SLEEVES)
    assert all(count > 0 and low != high for _, count, low, high in rows)


def test_parent_and_children_are_verified_and_audited_like_any_run(batch: Any) -> None:
    verified = batch("ledger", "verify", "b1", "--recursive", "--json")
    assert (verified.exit, len(verified.document["data"])) == (0, 3)
    child = batch.file("b1", "data/batch.json")["children"][0]["run_id"]
    audited = batch("audit", "atomic", child, "--json")
    assert audited.exit == 0, audited.err


def test_what_a_person_reads_of_a_batch_names_every_child(batch: Any) -> None:
    children = [child["run_id"] for child in batch.file("b1", "data/batch.json")["children"]]
    for words in (("list", "--parent", "b1"), ("show", "b1"), ("show", "b1", "batch")):
        answer = batch(*words)
        assert answer.exit == 0 and all(child in answer.out for child in children), answer.out
    assert "(none)" not in batch("show", "b1").out
    index = (batch.runs_dir / "b1" / "INDEX.md").read_text()
    assert all(f"`{child}`" in index for child in children)
    listed = batch("list", "--parent", "b1", "--json").document["data"]
    assert [run["run_id"] for run in listed] == children
    assert json.loads(batch("status", "b1", "--json").out)["data"]["children"]["succeeded"] == 2


def test_a_child_that_ran_beside_another_is_the_run_that_it_is_alone(
    batch: Any, fair: Any, tmp_path: Path
) -> None:
    child = batch.file("b1", "data/batch.json")["children"][1]["run_id"]
    alone = fair.copy(tmp_path)
    done = alone(*batch.file(child, "config/resolved_manifest.json")["replay"][1:])
    assert done.exit == 0, done.err
    assert alone.result(child) == batch.result(child)
