-- Every verdict of a gate: status, counts, first error code and the verdict file.
SELECT run_id, seq, step AS stage, attempt,
       json_extract_string(data, '$.gate') AS gate,
       json_extract_string(data, '$.status') AS status,
       CAST(json_extract(data, '$.errors') AS BIGINT) AS errors,
       CAST(json_extract(data, '$.warnings') AS BIGINT) AS warnings,
       code,
       json_extract_string(outputs, '$[0].path') AS verdict,
       json_extract_string(outputs, '$[0].sha256') AS verdict_sha256
FROM parts.ledger WHERE type = 'gate'
