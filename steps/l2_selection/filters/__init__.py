"""Filters of candidates, one file each, and the vetoes they return."""
