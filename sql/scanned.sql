-- How far every symbol of the snapshot came in each scanner; code is null for one that passed.
SELECT run_id, scanner, symbol, last_rule, code, value, threshold FROM parts.scanned
