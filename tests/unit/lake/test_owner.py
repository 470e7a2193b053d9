"""Whose state a database holds: one directory has it, wherever that lies; another one is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from quantctl.contracts.errors import ConfigError
from quantctl.lake import fault_points, leases, owner, state
from quantctl.workflows.runtime import Places


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A state database outside every data directory."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.sqlite'}"
    else:
        yield str(request.getfixturevalue("postgres_url"))
    fault_points.disarm()


def places(root: Path, url: str) -> Places:
    return Places(root, root / "lakehouse", root / "artifacts", root / "export", url)


def opened(root: Path, url: str) -> None:
    places(root, url).open_state().dispose()


def refused(root: Path, url: str) -> ConfigError:
    """The refusal of a data directory, the same for writers and for a look."""
    with pytest.raises(ConfigError) as caught:
        opened(root, url)
    with pytest.raises(ConfigError) as looked:
        places(root, url).check_owner()
    assert caught.value.to_dict() == looked.value.to_dict()
    assert (caught.value.code, caught.value.exit_code, caught.value.where) == (
        "STATE_FOREIGN", 2, "TV_STATE_URL",
    )  # fmt: skip
    return caught.value


def ids(url: str) -> list[str]:
    with state.reader(url) as connection:
        assert connection is not None
        return [row[0] for row in connection.execute("SELECT id FROM installation").fetchall()]


def test_the_first_directory_takes_a_database_and_another_one_is_refused(url: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    places(one, url).check_owner()  # nobody's yet, and a look takes nothing
    assert not owner.place(one).exists()
    opened(one, url)
    opened(one, url)
    assert ids(url) == [owner.place(one).read_text().strip()]
    found = refused(other, url)
    assert str(other) in found.message
    assert state.display(url) in found.message
    assert found.remedy.endswith("quantctl doctor --adopt-state")
    assert not other.exists()  # nothing is written where nothing may be done
    opened(one, url)


def test_a_directory_that_was_moved_or_restored_keeps_its_database(url: str, tmp_path: Path) -> None:
    opened(tmp_path / "one", url)
    shutil.copytree(tmp_path / "one", tmp_path / "backup")
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    opened(tmp_path / "elsewhere", url)
    shutil.rmtree(tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "backup", tmp_path / "restored")
    opened(tmp_path / "restored", url)
    assert len(ids(url)) == 1


@pytest.mark.parametrize("old", ["DELETE FROM installation", "DROP TABLE installation"])
def test_a_database_without_an_owner_is_taken_silently(url: str, tmp_path: Path, old: str) -> None:
    opened(tmp_path / "one", url)
    known = ids(url)
    engine = state.open_engine(url)
    with engine.begin() as sql:
        sql.execute(sa.text(old))
    engine.dispose()
    places(tmp_path / "one", url).check_owner()
    opened(tmp_path / "one", url)
    assert ids(url) == known


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"not an id\n"])
def test_a_file_without_an_id_is_no_proof_and_where_nobody_owns_it_is_written_anew(
    url: str, tmp_path: Path, content: bytes
) -> None:
    one = tmp_path / "one"
    owner.place(one).parent.mkdir(parents=True)
    owner.place(one).write_bytes(content)
    opened(one, url)
    assert ids(url) == [owner.place(one).read_text().strip()]
    owner.place(one).write_bytes(content)
    refused(one, url)


def test_a_directory_adopts_a_database_only_if_that_is_asked(url: str, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    opened(one, url)
    places(other, url).adopt_state()
    opened(other, url)
    refused(one, url)
    owner.place(other).unlink()  # lost, and not in the backup
    refused(other, url)
    places(other, url).adopt_state()
    opened(other, url)


def test_of_processes_that_come_together_one_directory_has_the_database(url: str, tmp_path: Path) -> None:
    state.open_engine(url).dispose()
    roots = [tmp_path / name for name in ("one", "other") for _ in range(4)]

    def come(root: Path) -> str:
        try:
            opened(root, url)
        except ConfigError as problem:
            return problem.code
        return "its owner"

    with ThreadPoolExecutor(len(roots)) as pool:
        came = list(pool.map(come, roots))
    assert len(ids(url)) == 1
    assert sorted([set(came[:4]), set(came[4:])], key=str) == [{"STATE_FOREIGN"}, {"its owner"}]


def test_a_kill_between_file_and_row_is_made_good_by_the_next_process(url: str, tmp_path: Path) -> None:
    def die(point: str) -> None:
        if point == "installation.named":
            raise KeyboardInterrupt

    fault_points.arm(die)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "one", url)
    fault_points.disarm()
    assert ids(url) == []
    known = owner.place(tmp_path / "one").read_text().strip()
    opened(tmp_path / "one", url)
    assert ids(url) == [known]
    assert list((tmp_path / "one" / "state").glob(".tmp-*")) == []


def test_a_file_system_without_links_keeps_the_id_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    opened(tmp_path / "one", url)
    opened(tmp_path / "one", url)
    assert ids(url) == [owner.place(tmp_path / "one").read_text().strip()]


def test_the_embedded_database_is_its_directorys_and_nothing_is_asked(tmp_path: Path) -> None:
    one = places(tmp_path / "one", state.default_url(tmp_path / "one"))
    one.open_state().dispose()
    one.adopt_state()
    one.check_owner()
    assert ids(one.state_url) == []
    assert not owner.place(tmp_path / "one").exists()


def test_a_database_in_which_a_worker_is_at_work_is_not_taken_over(postgres_url: str, tmp_path: Path) -> None:
    one, other = places(tmp_path / "one", postgres_url), places(tmp_path / "other", postgres_url)
    engine = one.open_state()
    with engine.begin() as sql:
        epoch = leases.sign_in(sql, "worker-x", 60)
    assert epoch is not None
    with pytest.raises(ConfigError) as caught:
        other.adopt_state()
    assert caught.value.code == "WORKER_BUSY"
    assert "worker-x" in caught.value.message
    one.adopt_state()  # it is its own
    with engine.begin() as sql:
        leases.sign_out(sql, "worker-x", epoch)
    engine.dispose()
    other.adopt_state()
    other.check_owner()
