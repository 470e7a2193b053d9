-- Every rule that kept a symbol or atom out of a run: where, code, class, value and threshold.
SELECT run_id, source, rule, risk_profile, symbol, atom, code, class, value, threshold FROM parts.vetoes
