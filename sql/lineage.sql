-- What each stage read and wrote, by name and hash: from a weight file back to the snapshot.
SELECT l.run_id, l.seq, l.step AS stage, l.attempt, 'input' AS role,
       json_extract_string(f.value, '$.name') AS name, json_extract_string(f.value, '$.path') AS path,
       json_extract_string(f.value, '$.sha256') AS sha256
FROM parts.ledger l, json_each(l.inputs) AS f
WHERE l.type = 'stage'
UNION ALL
SELECT l.run_id, l.seq, l.step, l.attempt, 'output',
       json_extract_string(f.value, '$.name'), json_extract_string(f.value, '$.path'),
       json_extract_string(f.value, '$.sha256')
FROM parts.ledger l, json_each(l.outputs) AS f
WHERE l.type = 'stage'
UNION ALL
SELECT l.run_id, l.seq, json_extract_string(l.data, '$.from_stage'), l.attempt, 'forked_from',
       json_extract_string(l.data, '$.run_id'), NULL, json_extract_string(l.data, '$.head_hash')
FROM parts.ledger l
WHERE l.code = 'FORKED_FROM'
