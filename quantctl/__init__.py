"""quantctl: durable, exact and queryable portfolio pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantctl.sdk import QuantSDK

__version__ = "0.1.0"
__all__ = ["QuantSDK", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "QuantSDK":
        from quantctl.sdk import QuantSDK

        return QuantSDK
    raise AttributeError(f"module 'quantctl' has no attribute {name!r}")
