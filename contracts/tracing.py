"""Where code says what it is doing, so that whoever watches can time it; silent unless watched.

A stage is pure: it may name a piece of its work here, and add facts to it, but it never gets anything
back. The clock, the ids and the exporter belong to the watcher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

Facts = dict[str, Any]
Watcher = Callable[[str, str, Facts], AbstractContextManager[Facts]]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(by: Watcher) -> Iterator[None]:
    """Inside, every `span` is told to `by(name, level, attributes)`."""
    token = _watcher.set(by)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def span(name: str, level: str, **attributes: Any) -> Iterator[Facts]:
    """A named piece of work (`gate`, `solver`, `chunk`, `window`); facts set on what it yields are kept.

    A fact `error.code` marks the piece as failed; so does an exception that leaves it.
    """
    watcher = _watcher.get()
    if watcher is None:
        yield {}
        return
    with watcher(name, level, attributes) as facts:
        yield facts
