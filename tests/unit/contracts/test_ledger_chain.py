"""Every way to tamper with a chain is found, and told apart."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from quantctl.contracts.ledger_chain import GENESIS_HASH, body_hash, seal, verify_chain


def chain(length: int) -> list[dict]:
    records, previous = [], GENESIS_HASH
    for seq in range(length):
        kind = "genesis" if seq == 0 else "closed" if seq == length - 1 else "decision"
        record = seal({
            "v": 1, "seq": seq, "ts": f"2026-01-01T00:00:{seq:02d}.000000Z", "type": kind, "run_id": "r",
            "profile": "p", "trace_id": "0" * 32, "span_id": None, "step": "s", "attempt": 1,
            "status": "info", "code": None, "inputs": [], "outputs": [], "data": {"n": seq, "x": 0.1 * seq},
        }, previous)  # fmt: skip
        records.append(record)
        previous = record["hash"]
    return records


def codes(records: list[dict], **kwargs) -> list[str]:
    return [finding.code for finding in verify_chain(records, **kwargs)]


def test_an_untouched_chain_has_no_findings() -> None:
    records = chain(7)
    assert codes(records, head={"seq": 6, "hash": records[-1]["hash"]}, terminal=True) == []


def test_the_hash_is_that_of_the_canonical_record_without_hash() -> None:
    record = chain(3)[1]
    bare = {k: v for k, v in record.items() if k != "hash"}
    assert record["hash"] == hashlib.sha256(rfc8785.dumps(bare)).hexdigest()


def test_the_body_hash_ignores_time_and_place_only() -> None:
    record = chain(3)[1]
    moved = record | {"ts": "2030-01-01T00:00:00.000000Z", "seq": 9, "span_id": "f" * 16}
    assert body_hash(moved) == record["body_hash"]
    assert body_hash(record | {"attempt": 2}) != record["body_hash"]


def edit(records: list[dict]) -> None:
    records[3]["data"]["n"] = 99


def edit_and_reseal(records: list[dict]) -> None:
    records[3] = seal({k: v for k, v in records[3].items() if not k.endswith("hash")} | {"data": {}},
                      records[3]["prev_hash"])  # fmt: skip


def remove(records: list[dict]) -> None:
    del records[3]


def insert(records: list[dict]) -> None:
    records.insert(3, copy.deepcopy(records[2]))


def reorder(records: list[dict]) -> None:
    records[2], records[3] = records[3], records[2]


def truncate(records: list[dict]) -> None:
    del records[5:]


def extra_field(records: list[dict]) -> None:
    records[3]["note"] = "x"


def second_genesis(records: list[dict]) -> None:
    records[4]["type"] = "genesis"


def other_trace(records: list[dict]) -> None:
    records[4]["trace_id"] = "1" * 32


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (edit, "LEDGER_HASH"), (edit_and_reseal, "LEDGER_LINK"), (remove, "LEDGER_SEQ"),
        (insert, "LEDGER_SEQ"), (reorder, "LEDGER_SEQ"), (truncate, "LEDGER_TRUNCATED"),
        (extra_field, "LEDGER_PARSE"), (second_genesis, "LEDGER_GENESIS"), (other_trace, "LEDGER_TRACE"),
    ],
)  # fmt: skip
def test_tampering_is_found_and_named(tamper: Callable[[list[dict]], None], code: str) -> None:
    records = chain(7)
    head = {"seq": 6, "hash": records[-1]["hash"]}
    tamper(records)
    assert code in codes(records, head=head, terminal=True)


def test_a_cut_tail_of_a_finished_run_is_found_without_a_head() -> None:
    assert codes(chain(7)[:5], terminal=True) == ["LEDGER_TRUNCATED"]


@given(st.integers(0, 6), st.sampled_from(["ts", "status", "code", "profile", "step", "data", "prev_hash"]))
def test_any_changed_field_is_found(position: int, name: str) -> None:
    records = json.loads(json.dumps(chain(7)))
    records[position][name] = {"changed": 1} if name == "data" else "changed"
    assert codes(records)
