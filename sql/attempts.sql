-- One row per attempt of a run: from which stage, when, how it ended, and after how many records.
SELECT b.run_id, b.attempt, b.step AS from_stage, b.ts AS begun_at, c.ts AS closed_at,
       coalesce(json_extract_string(c.data, '$.state'), 'OPEN') AS state,
       CAST(json_extract(c.data, '$.exit_code') AS BIGINT) AS exit_code, c.code,
       json_extract_string(c.data, '$.reason') AS reason, c.seq - b.seq + 1 AS records
FROM parts.ledger b
LEFT JOIN parts.ledger c ON c.run_id = b.run_id AND c.attempt = b.attempt AND c.type = 'closed'
WHERE b.type = 'genesis' OR (b.type = 'event' AND b.code = 'REOPENED')
