-- Every number that a stage reported with its outcome.
SELECT l.run_id, l.step AS stage, l.attempt, m.key AS metric, TRY_CAST(m.value AS DOUBLE) AS value,
       json_extract_string(m.value, '$') AS text
FROM parts.ledger l, json_each(json_extract(l.data, '$.metrics')) AS m
WHERE l.type = 'stage' AND l.status IN ('success', 'failed')
