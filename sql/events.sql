-- Every event of a run: what was reopened, waived, inherited or done that is no finding.
SELECT run_id, seq, ts, step AS stage, attempt, code, CAST(data AS JSON) AS data
FROM parts.ledger WHERE type = 'event'
