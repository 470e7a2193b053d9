"""What every section of the settings shares: strict, frozen models and typed refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr
from pydantic_core import PydanticCustomError

from quantctl.contracts.nearest import did_you_mean

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Secret = Annotated[
    SecretStr, PlainSerializer(lambda value: "***" if value.get_secret_value() else "", when_used="json")
]
AtLeastOne = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of the settings: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def refusal(code: str, message: str) -> PydanticCustomError:
    """An error that a validator raises to refuse a value under its own code (an UPPER_SNAKE name)."""
    return PydanticCustomError(code, message)


def one_of(code: str, what: str, names: Iterable[str]) -> AfterValidator:
    """Validator of a string that must be one of `names`; others are refused as `code`, with the nearest."""
    return AfterValidator(_member(code, what, tuple(names)))


def _member(code: str, what: str, names: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in names:
            hint = did_you_mean(value, names) or f"; known: {', '.join(names)}"
            raise refusal(code, f"unknown {what} {value!r}{hint}")
        return value

    return check
