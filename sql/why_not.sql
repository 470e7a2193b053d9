-- Why a symbol is not in the portfolio of a run, from the scan on: step, rule, code, value and threshold.
-- risk_profile is null where the reason holds for every profile. Held symbols have no row for that profile.
WITH reasons AS (
    SELECT run_id, symbol, NULL AS atom, NULL AS risk_profile, 1 AS step, 'scan' AS stage, scanner AS rule, code,
           NULL AS class, value, threshold
    FROM parts.scanned s
    WHERE code IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM parts.scanned p WHERE p.run_id = s.run_id AND p.symbol = s.symbol AND p.code IS NULL)
    UNION ALL
    SELECT run_id, symbol, atom, risk_profile,
           CASE source WHEN 'identity' THEN 2 WHEN 'foundation' THEN 3 WHEN 'selection' THEN 4 ELSE 6 END,
           source, rule, code, class, value, threshold
    FROM parts.vetoes
    UNION ALL
    SELECT a.run_id, n.symbol, n.atom, a.risk_profile, 5, 'allocation', a.risk_profile,
           coalesce(a.reason, CASE WHEN a.status = 'OPTIMAL' THEN 'NO_WEIGHT' ELSE a.status END),
           NULL, 0.0, NULL
    FROM parts.allocations a JOIN parts.winners n ON n.run_id = a.run_id
    WHERE a.space = 'synthetic' AND NOT EXISTS (
        SELECT 1 FROM parts.weights w
        WHERE w.run_id = a.run_id AND w.space = 'synthetic' AND w.risk_profile = a.risk_profile
          AND w.symbol = n.atom AND w.weight > 0)
)
SELECT run_id, symbol, risk_profile, step, stage, rule, atom, code, class, value, threshold
FROM reasons q
WHERE NOT EXISTS (
    SELECT 1 FROM parts.weights h
    WHERE h.run_id = q.run_id AND h.symbol = q.symbol AND h.space = 'physical' AND h.direction <> 'FLAT'
      AND (h.risk_profile = q.risk_profile OR q.risk_profile IS NULL))
