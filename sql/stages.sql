-- One row per stage and attempt: intent, outcome, code and seconds between the two records.
SELECT i.run_id, i.step AS stage, i.attempt, i.seq AS intent_seq, o.seq AS outcome_seq,
       coalesce(o.status, 'open') AS status, o.code, i.ts AS opened_at, o.ts AS booked_at,
       date_diff('millisecond', CAST(i.ts AS TIMESTAMP), CAST(o.ts AS TIMESTAMP)) / 1000.0 AS seconds
FROM parts.ledger i
LEFT JOIN parts.ledger o
  ON o.run_id = i.run_id AND o.step = i.step AND o.attempt = i.attempt AND o.type = 'stage'
 AND o.status IN ('success', 'failed')
WHERE i.type = 'stage' AND i.status = 'intent'
UNION ALL
SELECT run_id, step, attempt, NULL, seq, status, code, NULL, ts, NULL
FROM parts.ledger WHERE type = 'stage' AND status = 'skipped'
