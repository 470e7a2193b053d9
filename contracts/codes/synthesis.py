"""Codes of atoms, streams, sign tests and regime."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    # atoms and streams
    "DIRECTION_UNKNOWN": Code(1, "A direction is neither LONG nor SHORT."),
    "LOGIC_UNKNOWN": Code(1, "A logic is not in the logic table."),
    "ATOM_DUPLICATE": Code(1, "Two winners are the same atom."),
    "SYNTHESIS_SYMBOL_MISSING": Code(1, "A winner is no pool column of the returns matrix."),
    "SYNTHESIS_TOO_SHORT": Code(1, "The warm-up of the gates leaves no row of the returns matrix."),
    "SYNTHESIS_WARMUP": Code(None, "Leading rows were dropped because a gate is undefined on them."),
    "STREAM_RUINED": Code(None, "A stream loses everything on at least one day."),
    "COMPOSITE_UNAVAILABLE": Code(2, "Composites cannot be solved by this version."),
    # gate l3
    "L3_PARSE": Code(1, "A file of the synthesis is absent or unreadable."),
    "L3_NOTHING_CHECKED": Code(1, "The synthesis gate had no atom to examine."),
    "L3_RANGE": Code(1, "A stream leaves [-1, 5], a SHORT one [-1, 1], or is undefined."),
    "L3_GATE_RANGE": Code(1, "A gate is neither 0 nor 1."),
    "L3_ATOM_TABLE": Code(1, "Columns of streams or gates are not the ids of the atom table."),
    "L3_ALL_DORMANT": Code(1, "No atom is ever active."),
    "L3_DORMANT": Code(None, "An atom is active on fewer than 5 % of the rows."),
    # directional sign test
    "SIGNTEST_MISSING_SYNTHETIC": Code(1, "The synthetic returns are absent or unreadable."),
    "SIGNTEST_MISSING_RAW": Code(1, "The returns matrix is absent or unreadable."),
    "SIGNTEST_MISSING_ATOMS": Code(1, "The atom table is absent or unreadable."),
    "SIGNTEST_MISSING_GATES": Code(1, "The gate panel is absent, unreadable or lacks an atom."),
    "SIGNTEST_EMPTY_SYNTHETIC": Code(1, "The synthetic returns have no row or no column."),
    "SIGNTEST_EMPTY_RAW": Code(1, "The returns matrix has no row or no column."),
    "SIGNTEST_NO_ATOMS": Code(1, "The sign test examined no atom."),
    "SIGNTEST_UNMAPPED_ATOM": Code(1, "A column has no row in the atom table, or a row no column."),
    "SIGNTEST_MISSING_PHYSICAL_COL": Code(1, "The symbol of an atom is not in the returns matrix."),
    "SIGNTEST_INDEX_MISMATCH": Code(1, "Streams, gates and returns do not have the required dates."),
    "SIGNTEST_NAN_MASK": Code(1, "A stream, gate or raw column has missing values."),
    "SIGNTEST_LONG_MISMATCH": Code(1, "A LONG stream is not its gated raw returns."),
    "SIGNTEST_SHORT_NOT_INVERTED": Code(1, "A SHORT stream is not its gated, inverted and capped returns."),
    "SIGNTEST_GATE_INVALID": Code(1, "A gate is not what its recomputation from raw returns says."),
    "SIGNTEST_NO_EVIDENCE": Code(1, "An ungated atom has no row on which its return is not zero."),
    "SIGNTEST_INTENT_MISMATCH": Code(1, "The direction of an atom is not the intent of the sleeve."),
    "SIGNTEST_WINNER_SET": Code(1, "The atoms are not the winners of the selection."),
    "SIGNTEST_MISSING_OPTIMIZER": Code(1, "The solver's weight file is absent."),
    "SIGNTEST_OPTIMIZER_PARSE": Code(1, "The solver's weight file is unreadable."),
    "SIGNTEST_SPACE_TAG": Code(1, "The solver's weight file is not tagged as synthetic."),
    "SIGNTEST_OPTIMIZER_UNKNOWN_ATOM": Code(1, "The solver holds an atom that is not in the atom table."),
    "SIGNTEST_OPTIMIZER_NOT_NORMALIZED": Code(1, "A row of the solver is not long-normalised."),
    "SIGNTEST_PROFILE_UNCHECKED": Code(1, "A risk profile of the solver file could not be examined."),
    "SIGN_TEST_PRE_OPT_PARSE": Code(1, "The sign test before optimisation could not read an input."),
    "SIGN_TEST_PRE_OPT_NOTHING_CHECKED": Code(1, "The sign test before optimisation had nothing to examine."),
    "SIGN_TEST_POST_OPT_PARSE": Code(1, "The sign test after optimisation could not read an input."),
    "SIGN_TEST_POST_OPT_NOTHING_CHECKED": Code(1, "The sign test after optimisation had nothing to examine."),
    # regime
    "REGIME_DISABLED": Code(None, "The regime detector is off; the regime reads NORMAL."),
    "REGIME_INSUFFICIENT_DATA": Code(None, "Too few rows for a regime; it reads NORMAL."),
    "REGIME_REFERENCE_THIN": Code(None, "Fewer than 5 reference columns; pool columns join them."),
    "REGIME_COMPONENT_UNDEFINED": Code(None, "A component of the regime score is undefined and counts 0."),
    "REGIME_INCONSISTENT": Code(1, "Two readings of the regime of one run differ."),
    "HMM_NOT_CONVERGED": Code(None, "The hidden Markov model did not converge and is not accepted."),
    "REGIME_PARSE": Code(1, "The regime record is absent or unreadable."),
    "REGIME_NOTHING_CHECKED": Code(1, "The regime gate had nothing to examine."),
    "REGIME_SCORE_INVALID": Code(1, "The regime score is negative or no finite number."),
    "REGIME_LABEL_INVALID": Code(1, "Regime, quadrant and environment contradict each other."),
}
