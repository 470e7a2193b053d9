"""Codes of settings, profiles, CLI and environment."""

from __future__ import annotations

from quantctl.contracts.codes.row import Code

CODES: dict[str, Code] = {
    # settings and profiles
    "CONFIG_RANGE": Code(2, "A setting is outside its valid range."),
    "CONFIG_TYPE": Code(2, "A setting has the wrong type."),
    "CONFIG_CONFLICT": Code(2, "Two settings, or a setting and the snapshot, contradict each other."),
    "SETTING_UNKNOWN": Code(2, "A settings key does not exist."),
    "SETTING_MISSING": Code(2, "A required settings key is not given."),
    "SETTING_SYNTAX": Code(2, "A --set, variable or .env line is not key=value."),
    "ENV_UNKNOWN": Code(2, "A TV_* variable names no setting."),
    "PROFILE_REQUIRED": Code(2, "No profile was named."),
    "PROFILE_UNKNOWN": Code(2, "A profile does not exist."),
    "PROFILE_SYNTAX": Code(2, "A profile is not a YAML map."),
    "PROFILE_DUPLICATE_KEY": Code(2, "A key stands twice in one YAML map."),
    "PROFILE_CYCLE": Code(2, "A chain of extends returns to its start."),
    "HTR_FLOOR_TOO_LOW": Code(2, "htr.floor is below 15."),
    "RATING_WEIGHTS_INVALID": Code(2, "Rating weights do not sum to 1."),
    "ENGINE_UNKNOWN": Code(2, "features.selection_mode names no selection engine."),
    "ENGINE_UNAVAILABLE": Code(2, "The engine is not part of this installation."),
    "FILTER_UNKNOWN": Code(2, "selection.filters names no filter."),
    "SIGNAL_UNKNOWN": Code(2, "A signal is not a scored metric of the engine."),
    "RISK_PROFILE_UNKNOWN": Code(2, "A risk profile does not exist."),
    "BETA_UNSUPPORTED_FOR_PROFILE": Code(2, "A beta row is asked for where it would destroy the profile."),
    "BUDGET_MISSING": Code(2, "risk_budget has no budgets."),
    "RANK_DIRECTION_MISMATCH": Code(2, "ranking.direction contradicts the direction of the sleeve."),
    "SIGN_GATE_REQUIRED": Code(2, "The sign test of a sleeve that can hold shorts cannot be turned off."),
    "WINDOW_GAP": Code(2, "The test window is shorter than the step."),
    "CALENDAR_UNKNOWN": Code(2, "An exchange or calendar code has no calendar."),
    "PATH_NOT_DIRECTORY": Code(2, "A file stands where paths.* names a directory."),
    # command line
    "USAGE": Code(2, "The command line is wrong."),
    "COMMAND_UNKNOWN": Code(2, "A command does not exist."),
    "OPTION_UNKNOWN": Code(2, "An option does not exist."),
    "INTERNAL": Code(70, "Our own fault."),
    "INTERRUPTED": Code(5, "A signal asked the process to stop; nothing is lost."),
    # environment
    "EXTRA_MISSING": Code(2, "An optional package that the command needs is not installed."),
    "DOCTOR_FAILED": Code(3, "A check of the environment failed."),
    "INIT_EXISTS": Code(2, "The directory already holds files that init would write."),
}
