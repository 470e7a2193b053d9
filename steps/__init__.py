"""The lifecycle, readable top to bottom; pure functions only."""
