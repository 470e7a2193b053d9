"""The error tree. A leaf names what kind of thing went wrong; its `code` says exactly what.

::

    QuantError                    exit code comes from the code's row in `contracts.codes`
    ├── ConfigError               a setting, option, profile or scanner is wrong        (2)
    ├── ContractError             a frame or record breaks its declared contract       (1, 3)
    ├── DataMissing               something needed is not there                        (3)
    ├── DataUnhealthy             it is there, but may not be used                     (3)
    ├── GateFailed                a gate judged FAIL                                   (1, 3)
    ├── Infeasible                constraints conflict and no fallback was declared    (4)
    ├── SolverFailed              no rung of the solver ladder gave an accepted result (4)
    ├── BoundaryViolation         a stage touched what it may not touch                (1, 70)
    └── InternalError             our own fault                                        (70)

    EnvironmentFault(BaseException)   the machine, not the data: never an outcome of a stage (5)
    ├── DiskFault                 full, read-only or failing disk
    ├── MemoryFault               out of memory
    ├── StateUnreachable          the state database cannot be reached
    ├── LeaseLost                 another worker has taken the run up
    └── Interrupted               Ctrl-C or SIGTERM
"""

from __future__ import annotations

from typing import Any

from quantctl.contracts.codes import exit_of


class QuantError(Exception):
    """A domain error: what failed, where, why, and the command that fixes it.

    Parameters
    ----------
    code : UPPER_SNAKE name with a row in `contracts.codes`
    message : one line, says what failed and why
    where : `file:key`, `artifact:column:row` or a symbol
    remedy : the command (or edit) that cures it
    details : JSON-able facts for the ledger
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str = "",
        remedy: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.where = where
        self.remedy = remedy
        self.details = dict(details or {})

    @property
    def exit_code(self) -> int:
        """Process exit code of this error (interfaces: 0 1 2 3 4 5 70)."""
        return exit_of(self.code)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.where, self.remedy, self.details))

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        return f"{self.message}{place}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form kept in outcomes and printed by `--json`."""
        return {
            "kind": type(self).__name__,
            "code": self.code,
            "exit": self.exit_code,
            "message": self.message,
            "where": self.where,
            "remedy": self.remedy,
            "details": self.details,
        }


def _rebuild(
    kind: type[QuantError], code: str, message: str, where: str, remedy: str, details: dict[str, Any]
) -> QuantError:
    return kind(code, message, where=where, remedy=remedy, details=details)


class ConfigError(QuantError):
    """A setting, option, profile or scanner is wrong."""


class ContractError(QuantError):
    """A frame or record breaks its declared contract."""


class DataMissing(QuantError):  # noqa: N818  a kind of outcome, not a Python error
    """Something needed is not there."""


class DataUnhealthy(QuantError):  # noqa: N818  a kind of outcome, not a Python error
    """The data is there, but may not be used."""


class GateFailed(QuantError):  # noqa: N818  a kind of outcome, not a Python error
    """A gate judged FAIL."""


class Infeasible(QuantError):  # noqa: N818  a kind of outcome, not a Python error
    """The constraints conflict and no fallback was declared."""


class SolverFailed(QuantError):  # noqa: N818  a kind of outcome, not a Python error
    """No rung of the solver ladder gave an accepted result."""


class BoundaryViolation(QuantError):  # noqa: N818  a kind of outcome, not a Python error
    """A stage touched what it may not touch."""


class InternalError(QuantError):
    """Our own fault: please report it."""


KINDS: dict[str, type[QuantError]] = {
    kind.__name__: kind
    for kind in (
        ConfigError, ContractError, DataMissing, DataUnhealthy, GateFailed,
        Infeasible, SolverFailed, BoundaryViolation, InternalError, QuantError,
    )
}  # fmt: skip


def error_from_dict(record: dict[str, Any]) -> QuantError:
    """The typed error of a booked outcome (inverse of `QuantError.to_dict`)."""
    kind = KINDS.get(record["kind"], QuantError)
    return kind(
        record["code"], record["message"],
        where=record["where"], remedy=record["remedy"], details=record["details"],
    )  # fmt: skip


class EnvironmentFault(BaseException):
    """The environment failed, not the run: the stage stays open and the run resumable (exit 5).

    Derives from `BaseException` on purpose: the workflow engine checkpoints an `Exception` as the
    step's result for good, but leaves a `BaseException` pending.
    """

    exit_code = 5
    run_id: str | None = None  # the run that stays open, where a command knows it

    def __init__(self, code: str, message: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.where = where
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_fault, (type(self), self.code, self.message, self.where, self.remedy))

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        return f"{self.message}{place}"


def _rebuild_fault(
    kind: type[EnvironmentFault], code: str, message: str, where: str, remedy: str
) -> EnvironmentFault:
    return kind(code, message, where=where, remedy=remedy)


class DiskFault(EnvironmentFault):
    """`DISK_FULL`, `DISK_READ_ONLY` or `DISK_IO`."""


class MemoryFault(EnvironmentFault):
    """`OUT_OF_MEMORY`."""


class StateUnreachable(EnvironmentFault):
    """`STATE_UNREACHABLE`."""


class LeaseLost(EnvironmentFault):
    """`LEASE_LOST`: this worker slept past its lease and may book nothing more for the run."""


class Interrupted(EnvironmentFault):
    """`INTERRUPTED`: a signal asked the process to stop; nothing is lost."""
