"""Codes of runs, stages, ledger, state database and worker."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    # artifacts and records
    "ARTIFACT_CONTRACT": Code(1, "An artifact breaks the contract of the artifact table."),
    "ARTIFACT_CORRUPT": Code(3, "A file is not the one its run recorded."),
    "ARTIFACT_INVALID_JSON": Code(1, "A file is not strict JSON (NaN, Infinity or a duplicate key)."),
    "ARTIFACT_NONFINITE": Code(70, "A number without a JSON form was about to be written."),
    "ARTIFACT_UNKNOWN": Code(2, "There is no artifact of that name."),
    "LEDGER_VALUE": Code(70, "A ledger record holds more than 16 KiB or a value without a canonical form."),
    "OUTCOME_TOO_LARGE": Code(70, "A stage's outcome exceeds 64 KiB; long lists belong in an artifact."),
    "STAGE_OUTPUT": Code(70, "A stage returned an artifact that it does not declare."),
    # pipelines and stages
    "PIPELINE_UNKNOWN": Code(2, "There is no pipeline of that name."),
    "PIPELINE_INVALID": Code(70, "A stage reads what no earlier stage writes."),
    "STAGE_UNKNOWN": Code(2, "There is no stage of that id."),
    "STAGE_PARAM_INVALID": Code(2, "A --param is unknown to the stage or out of range."),
    "ISOLATION_INPUT_MISSING": Code(3, "A stage needs an artifact that its run has not written."),
    "LIFECYCLE_INVALID": Code(2, "A profile tries to remove, skip or swap a mandatory step."),
    "NETWORK_FORBIDDEN": Code(1, "A stage outside DataOps tried to open a connection."),
    "ALPHA_READ_ONLY": Code(70, "A stage outside DataOps tried to write the lakehouse."),
    # runs
    "RUN_ID_INVALID": Code(2, "A run id is not 1 to 96 of A-Z a-z 0-9 _ -."),
    "RUN_ID_CONFLICT": Code(2, "A run of that id exists with other inputs."),
    "RUN_NOT_FOUND": Code(3, "There is no run of exactly that id."),
    "RUN_FAILED": Code(2, "A failed run is not resumed; it is retried."),
    "RUN_NOT_FAILED": Code(2, "Only a FAILED run is retried."),
    "RUN_CANCELLED": Code(2, "A cancelled run is not continued."),
    "RUN_FINISHED": Code(2, "The run has ended already."),
    "RUN_VERSION_MISMATCH": Code(2, "The run was started under another workflow protocol."),
    "RUN_VERSION_STAGES": Code(2, "Another workflow protocol has other stages, so the run is not adopted."),
    "VERSION_ADOPTED": Code(None, "A run went on under another workflow protocol, because that was asked."),
    "RETRY_STAGE_LATER": Code(2, "A retry can start at the failed stage or earlier, not later."),
    "WORKER_BUSY": Code(2, "Another process holds the worker lock, and does not take up what it is asked."),
    "LEASE_LOST": Code(5, "Another worker took the run up, because this one gave no sign of life in time."),
    "CANCELLED": Code(5, "The run was cancelled."),
    "REOPENED": Code(None, "A finished run was opened again by a retry."),
    # environment
    "STATE_URL_MISMATCH": Code(2, "The dbos command keeps another state database here."),
    "STATE_URL_INVALID": Code(2, "The URL of the state database can't be read."),
    "STATE_URL_UNSUPPORTED": Code(2, "The state is kept in SQLite or Postgres only."),
    "STATE_UNREACHABLE": Code(5, "The state database can't be used."),
    "DISK_FULL": Code(5, "No space is left, or less than orchestration.min_free_mb."),
    "DISK_READ_ONLY": Code(5, "The file system is read-only or permission is denied."),
    "DISK_IO": Code(5, "The device reported an I/O error."),
    "OUT_OF_MEMORY": Code(5, "Memory is used up."),
    "DETACHED": Code(5, "The command only followed a run, which goes on elsewhere."),
    "SPACE_SHORT": Code(3, "Too little disk space to begin a run."),
    # queries, dates and addresses
    "SQL_READ_ONLY": Code(2, "Only a single query is answered."),
    "SQL_PATH_FORBIDDEN": Code(2, "A query names a file outside the lake."),
    "SQL_INVALID": Code(2, "A query does not parse or names something unknown."),
    "AS_OF_INVALID": Code(2, "An as-of date is not YYYY-MM-DD."),
    "URI_INVALID": Code(2, "A quant:// URI is malformed."),
    "URI_PATH_FORBIDDEN": Code(2, "A quant:// URI names a path outside its run."),
    "STAGE_NEEDS_RUN": Code(2, "A stage run alone needs the run that holds its inputs."),
}
