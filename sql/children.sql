-- Every child of a batch as its parent booked it last, with the head of its chain; SKIPPED ones never began.
SELECT run_id AS parent, json_extract_string(data, '$.run_id') AS child,
       json_extract_string(data, '$.suffix') AS suffix, json_extract_string(data, '$.profile') AS profile,
       json_extract_string(data, '$.as_of') AS as_of, json_extract_string(data, '$.state') AS state,
       CAST(json_extract(data, '$.exit_code') AS BIGINT) AS exit_code,
       json_extract_string(data, '$.code') AS code, step AS stage, attempt, seq,
       CAST(json_extract(data, '$.head_seq') AS BIGINT) AS head_seq,
       CAST(json_extract(data, '$.head_seq') AS BIGINT) + 1 AS records,
       json_extract_string(data, '$.head_hash') AS head_hash,
       json_extract_string(data, '$.weights_sha256') AS weights_sha256
FROM parts.ledger WHERE type = 'event' AND code IN ('CHILD_CLOSED', 'CHILD_SKIPPED')
QUALIFY row_number() OVER (PARTITION BY run_id, json_extract_string(data, '$.run_id') ORDER BY seq DESC) = 1
ORDER BY parent, suffix
