"""Every setting of the product: one file per section, and the whole.

A key is `<section>.<name>[.<name>...]`. Each model refuses unknown keys and values out of range.
"""

from __future__ import annotations

from quantctl.contracts.settings.whole import FOLLOWERS, SECTIONS, Settings, followed

__all__ = ["FOLLOWERS", "SECTIONS", "Settings", "followed"]
