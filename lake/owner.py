"""Whose state a database holds: one outside the data directory belongs to one installation.

The database has the id of its installation in a row, the data directory in a file. So a directory may be
moved or restored elsewhere, and two directories can't share a database: each would take the other's runs
for its own, without their files. The embedded database lies in the directory, and nothing is asked there.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from quantctl.contracts.errors import ConfigError
from quantctl.lake import state
from quantctl.lake.fault_points import reach
from quantctl.lake.files import disk_faults, fsync_dir, make_dirs, temporary_name, write_synced
from quantctl.lake.ledger import timestamp

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ID = re.compile(r"[0-9a-f]{32}")
_ROW = "SELECT id FROM installation WHERE one = 1"


def place(data_dir: Path) -> Path:
    """The file with the id of a data directory."""
    return data_dir / "state" / "installation"


def check(url: str, data_dir: Path) -> None:
    """Refuse a database that belongs to another data directory (`STATE_FOREIGN`, exit 2); writes nothing.

    One that belongs to nobody yet passes: the first that writes takes it.
    """
    if url == state.default_url(data_dir):
        return
    with state.reader(url) as connection:
        if connection is None:
            return
        try:
            row = connection.execute(_ROW).fetchone()
        except state.TablesMissing:
            return
    _refuse(url, data_dir, None if row is None else str(row[0]))


def claim(sql: Connection, url: str, data_dir: Path) -> None:
    """Take a database that belongs to nobody; else as `check`. The file is durable before the row."""
    from sqlalchemy import text

    if url == state.default_url(data_dir):
        return
    owner = sql.execute(text(_ROW)).scalar()
    if owner is None:
        given = {"id": _made(data_dir), "now": _now()}
        sql.execute(text("INSERT INTO installation (one, id, since) VALUES (1, :id, :now)"
                         " ON CONFLICT (one) DO NOTHING"), given)  # fmt: skip
        owner = sql.execute(text(_ROW)).scalar()  # of two directories that came together, the first one's
    _refuse(url, data_dir, str(owner))


def adopt(sql: Connection, url: str, data_dir: Path) -> None:
    """Let a database belong to this data directory, whoever's it was."""
    from sqlalchemy import text

    if url == state.default_url(data_dir):
        return
    sql.execute(text("INSERT INTO installation (one, id, since) VALUES (1, :id, :now)"
                     " ON CONFLICT (one) DO UPDATE SET id = excluded.id, since = excluded.since"),
                {"id": _made(data_dir), "now": _now()})  # fmt: skip


def _refuse(url: str, data_dir: Path, owner: str | None) -> None:
    if owner is not None and owner != _known(data_dir):
        raise ConfigError(
            "STATE_FOREIGN",
            f"the state database {state.display(url)} belongs to another data directory than {data_dir}",
            where="TV_STATE_URL",
            remedy=f"name another database, or the data directory that it belongs to; where {place(data_dir)}"
            " was lost, or to take the database over: quantctl doctor --adopt-state",
        )


def _known(data_dir: Path) -> str | None:
    """The id of a data directory; null where it has none yet, or a file that is none of ours."""
    path = place(data_dir)
    with disk_faults(path):
        try:
            text = path.read_text(encoding="ascii", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
    return text if _ID.fullmatch(text) else None


def _made(data_dir: Path) -> str:
    """The id of a data directory, made if need be: of processes that make it together one wins."""
    path = place(data_dir)
    if (known := _known(data_dir)) is not None:
        return known
    fresh = os.urandom(16).hex()
    make_dirs(path.parent)
    temporary = temporary_name(path)
    write_synced(temporary, f"{fresh}\n".encode())
    with disk_faults(path):
        try:
            os.link(temporary, path)
        except FileExistsError:
            if _known(data_dir) is None:  # a file that holds no id
                temporary.replace(path)
        except OSError:  # a file system without links
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    fsync_dir(path.parent)
    reach("installation.named")
    return _known(data_dir) or fresh


def _now() -> str:
    return timestamp(datetime.now(UTC))
