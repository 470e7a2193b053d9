"""Errors cross processes: every class survives a pickle round trip with all that it carries."""

from __future__ import annotations

import pickle

import pytest

from quantctl.contracts import errors
from quantctl.contracts.errors import EnvironmentFault, QuantError, error_from_dict

DOMAIN = sorted(
    {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, QuantError)},
    key=lambda kind: kind.__name__,
)
FAULTS = sorted(
    {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EnvironmentFault)},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", DOMAIN)
def test_a_domain_error_survives_pickling(kind: type[QuantError]) -> None:
    error = kind("CONFIG_RANGE", "too low", where="p.yaml:3", remedy="raise it", details={"limit": 15})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.to_dict() == error.to_dict()
    assert again.exit_code == 2


@pytest.mark.parametrize("kind", DOMAIN)
def test_a_domain_error_survives_its_dictionary(kind: type[QuantError]) -> None:
    error = kind("CONFIG_RANGE", "too low", where="p.yaml:3", remedy="raise it", details={"limit": 15})
    again = error_from_dict(error.to_dict())
    assert type(again) is kind
    assert again.to_dict() == error.to_dict()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_survives_pickling_and_is_no_exception(kind: type[EnvironmentFault]) -> None:
    fault = kind("DISK_FULL", "no space", where="/data", remedy="free space")
    again = pickle.loads(pickle.dumps(fault))
    assert type(again) is kind
    assert (again.code, again.message, again.where, again.remedy) == (
        "DISK_FULL",
        "no space",
        "/data",
        "free space",
    )
    assert again.exit_code == 5
    assert not isinstance(again, Exception)


def test_an_unlisted_code_exits_as_internal_error() -> None:
    assert QuantError("NO_SUCH_CODE", "?").exit_code == 70
