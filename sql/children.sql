-- Every child run whose end its parent recorded, with the head of the child's chain.
SELECT run_id AS parent, seq, step AS stage, attempt,
       json_extract_string(data, '$.child') AS child,
       json_extract_string(data, '$.state') AS state,
       CAST(json_extract(data, '$.records') AS BIGINT) AS records,
       json_extract_string(data, '$.head_hash') AS head_hash
FROM parts.ledger WHERE type = 'event' AND code = 'CHILD_CLOSED'
