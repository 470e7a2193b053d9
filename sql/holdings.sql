-- The portfolio of each run and risk profile: physical positions with date, snapshot and state of the run.
SELECT r.run_id, r.profile, r.as_of, r.snapshot, r.state, w.risk_profile, w.status, w.symbol, w.direction,
       w.net_weight, w.weight, w.cluster_id
FROM parts.weights w JOIN parts.runs r ON r.run_id = w.run_id
WHERE w.space = 'physical' AND w.direction <> 'FLAT'
