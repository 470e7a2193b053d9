"""Validation, audits, index and the forensic report."""
