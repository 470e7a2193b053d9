"""Layer 3: winners become atoms with one return stream each, and the sign test that proves it."""
