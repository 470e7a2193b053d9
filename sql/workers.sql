-- Every worker that executed a run: runs, lives, how many were killed, from when to when.
SELECT worker, count(DISTINCT run_id) AS runs, count(*) AS lives,
       count(*) FILTER (WHERE reason = 'KILLED') AS killed,
       count(*) FILTER (WHERE ended IS NULL) AS open_lives,
       min(started) AS first_started, max(coalesce(ended, started)) AS last_seen
FROM parts.lives GROUP BY worker
