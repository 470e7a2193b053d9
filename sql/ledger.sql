-- Every record of every run, in sequence, with its data as JSON.
SELECT run_id, seq, ts, type, step, attempt, status, code, body_hash, hash,
       json_extract(record, '$.data') AS data,
       json_extract(record, '$.inputs') AS inputs,
       json_extract(record, '$.outputs') AS outputs,
       json_extract_string(record, '$.profile') AS profile,
       json_extract_string(record, '$.trace_id') AS trace_id,
       json_extract_string(record, '$.span_id') AS span_id,
       json_extract_string(record, '$.prev_hash') AS prev_hash
FROM parts.ledger
