-- Every weight of every risk profile: solver space by atom, physical space by symbol.
SELECT run_id, space, risk_profile, status, symbol, weight, net_weight, direction, cluster_id, type
FROM parts.weights
