-- Every finding a stage returned: level, code, symbol, message and details.
SELECT run_id, seq, step AS stage, attempt, code,
       json_extract_string(data, '$.level') AS level,
       json_extract_string(data, '$.symbol') AS symbol,
       json_extract_string(data, '$.message') AS message,
       json_extract(data, '$.details') AS details
FROM parts.ledger WHERE type = 'decision'
