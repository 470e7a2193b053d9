-- Every finding a stage returned: level, code, symbol, message and details.
SELECT run_id, seq, step AS stage, attempt, code,
       json_extract_string(record, '$.data.level') AS level,
       json_extract_string(record, '$.data.symbol') AS symbol,
       json_extract_string(record, '$.data.message') AS message,
       json_extract(record, '$.data.details') AS details
FROM parts.ledger WHERE type = 'decision'
