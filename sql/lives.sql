-- One row per process life of a run: a run that was killed has more than one.
SELECT run_id, life, worker, started, ended, reason FROM parts.lives
