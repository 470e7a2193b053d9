"""Files of a run that carry time by nature: equal runs differ in these and in `logs/`, nowhere else."""

TIMED = {"audit.jsonl", "audit_head.json", "config/resolved_manifest.json", "forensic_trace.json"}
