-- Seconds per stage over all runs of a profile: how many, median, 95th percentile, longest.
SELECT r.profile, s.stage, count(*) AS runs, median(s.seconds) AS median_seconds,
       quantile_cont(s.seconds, 0.95) AS p95_seconds, max(s.seconds) AS longest_seconds,
       sum(s.seconds) AS total_seconds
FROM stages s JOIN parts.runs r ON r.run_id = s.run_id
WHERE s.seconds IS NOT NULL GROUP BY r.profile, s.stage
