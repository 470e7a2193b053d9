-- Every winner of selection: symbol, atom, cluster, rank, score and the rung that admitted it.
SELECT run_id, symbol, atom, logic, direction, cluster, rank, alpha_score, stage_admitted FROM parts.winners
