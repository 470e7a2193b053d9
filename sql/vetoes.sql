-- Every rule that kept a symbol or atom out of a run: code, class, value and threshold.
SELECT run_id, source, symbol, atom, code, class, value, threshold FROM parts.vetoes
