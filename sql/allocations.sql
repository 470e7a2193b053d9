-- How every risk profile ended: status, reason, gross, net, cash and number of assets.
SELECT run_id, space, risk_profile, status, reason, gross, net, cash, assets FROM parts.allocations
