-- One row per run: where it stands, on what it was decided, and how it ended.
SELECT run_id, profile, pipeline, state, stage, attempt, exit_code, code, message, as_of, snapshot,
       trace_id, created_at, closed_at, head_seq, head_hash
FROM parts.runs
