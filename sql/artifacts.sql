-- Every artifact that a run has now: name, path below the run directory, hash, rows, bytes.
SELECT run_id, name, path, sha256, rows, bytes, contract, step AS stage, attempt FROM parts.artifacts
