-- Every record of every run, in sequence, with its data as JSON.
SELECT run_id, seq, ts, type, step, attempt, status, code, body_hash, hash, CAST(data AS JSON) AS data,
       CAST(inputs AS JSON) AS inputs, CAST(outputs AS JSON) AS outputs, profile, trace_id, span_id, prev_hash
FROM parts.ledger
