-- Which snapshot each run was decided on, with its as-of date.
SELECT DISTINCT snapshot, as_of, count(*) AS runs FROM parts.runs
WHERE snapshot IS NOT NULL GROUP BY snapshot, as_of
