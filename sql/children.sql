-- Every child run whose end its parent recorded, with the head of the child's chain.
SELECT run_id AS parent, seq, step AS stage, attempt, code,
       json_extract_string(data, '$.run_id') AS child,
       json_extract_string(data, '$.profile') AS profile,
       json_extract_string(data, '$.as_of') AS as_of,
       json_extract_string(data, '$.state') AS state,
       json_extract_string(data, '$.code') AS error,
       CAST(json_extract(data, '$.head_seq') AS BIGINT) + 1 AS records,
       json_extract_string(data, '$.head_hash') AS head_hash
FROM parts.ledger WHERE type = 'event' AND code IN ('CHILD_CLOSED', 'CHILD_SKIPPED')
