"""Codes of validation, audits, INDEX and report."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    # report
    "REPORT_HTML_SKIPPED": Code(None, "The HTML page was left out: the report extra is not installed."),
    "INDEX_MISMATCH": Code(1, "INDEX.md would contradict the manifest in profile, run id or a hash."),
    # ledger verification
    "LEDGER_PARSE": Code(1, "A line of the ledger is no record."),
    "LEDGER_SEQ": Code(1, "A sequence number of the ledger is missing, repeated or out of order."),
    "LEDGER_LINK": Code(1, "A record does not link to the one before, or names another run."),
    "LEDGER_HASH": Code(1, "A record was changed after it was sealed."),
    "LEDGER_GENESIS": Code(1, "Record 0 is not the only genesis record."),
    "LEDGER_TRUNCATED": Code(1, "The ledger ends before its head, or a finished run is not closed."),
    "LEDGER_ARTIFACT": Code(1, "A file is not the one that its record names."),
    "LEDGER_HEAD_MISSING": Code(1, "There is no head to hold the ledger against."),
    "LEDGER_TRACE": Code(1, "A record has no trace id, or another than its run's."),
    "LEDGER_UNBALANCED": Code(1, "A stage has an intent without an outcome, or the reverse."),
    "LEDGER_PROJECTION": Code(1, "audit.jsonl is not the ledger of the state database."),
    "LEDGER_UNTYPED": Code(1, "An artifact declares a relaxation that the ledger does not know."),
    "LEDGER_GATE_MISSING": Code(1, "A mandatory gate has no record with the sha256 of its verdict."),
    "LEDGER_NOTHING_CHECKED": Code(1, "The ledger gate had nothing to examine."),
    # atomic validation
    "ATOMIC_VALIDATION_PARSE": Code(1, "The atomic validation could not read an input."),
    "ATOMIC_VALIDATION_NOTHING_CHECKED": Code(1, "The atomic validation had nothing to examine."),
    "ATOMIC_MISSING_ARTIFACTS": Code(1, "A required file of the run is absent."),
    "ATOMIC_PROFILE_MISMATCH": Code(1, "The manifest names another profile or run."),
    "ATOMIC_SIGN_TEST_PRE_MISSING": Code(1, "The sign test before optimisation is absent."),
    "ATOMIC_SIGN_TEST_PRE_PARSE": Code(1, "The sign test before optimisation is unreadable."),
    "ATOMIC_SIGN_TEST_PRE_FAIL": Code(1, "The sign test before optimisation failed."),
    "ATOMIC_SIGN_TEST_POST_MISSING": Code(1, "The sign test after optimisation is absent."),
    "ATOMIC_SIGN_TEST_POST_PARSE": Code(1, "The sign test after optimisation is unreadable."),
    "ATOMIC_SIGN_TEST_POST_FAIL": Code(1, "The sign test after optimisation failed."),
    "ATOMIC_EMPTY_RETURNS": Code(1, "The returns matrix is empty."),
    "ATOMIC_EMPTY_PRIMARY": Code(1, "The primary risk profile has no weights in the solver file."),
    "ATOMIC_EMPTY_FLATTENED": Code(1, "The primary risk profile has no positions in the physical file."),
    "ATOMIC_MANIFEST_PARSE": Code(1, "The manifest is unreadable."),
    "ATOMIC_RETURNS_PARSE": Code(1, "The returns matrix is unreadable."),
    "ATOMIC_L0_FAIL": Code(1, "The returns matrix breaks the invariants of level L0."),
    "ATOMIC_OPT_PARSE": Code(1, "The solver's weight file is unreadable."),
    "ATOMIC_OPT_SCHEMA": Code(1, "The solver's weight file breaks its contract or its sums."),
    "ATOMIC_FLATTEN_PARSE": Code(1, "The physical weight file is unreadable."),
    "ATOMIC_FLATTEN_SCHEMA": Code(1, "The physical weight file breaks its contract or its sums."),
    "ATOMIC_CONSERVATION": Code(1, "Positions do not follow from the atoms, or the risk profiles differ."),
    "ATOMIC_KAPPA": Code(1, "The condition number is missing or not below 5000."),
    "ATOMIC_STALE_INPUT": Code(1, "A file was changed since it was recorded."),
    "ATOMIC_LEDGER_FAIL": Code(1, "The verification of the ledger failed or is absent."),
    # audit
    "AUDIT_DIVERGENCE": Code(1, "A recomputed verdict differs from the recorded one."),
    "TRACE_MISSING": Code(1, "forensic_trace.json is absent or unreadable."),
    "ATOMIC_TRACE_ID": Code(1, "The forensic trace and the ledger have different trace ids."),
}
