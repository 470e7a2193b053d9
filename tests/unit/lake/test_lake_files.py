from __future__ import annotations

import errno
import hashlib
import os
import pickle
from pathlib import Path

import pytest

from quantctl.contracts.errors import DiskFault
from quantctl.lake import files
from quantctl.lake.rundir import RunDirectory


def test_written_bytes_come_back_and_leave_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.json"
    files.write_atomic(target, b"one")
    files.write_atomic(target, b"two")
    assert target.read_bytes() == b"two"
    assert [p.name for p in target.parent.iterdir()] == ["b.json"]
    assert files.sha256_file(target) == hashlib.sha256(b"two").hexdigest()


def test_equal_file_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "same"
    files.write_atomic(target, b"same")
    before = target.stat().st_ino
    files.write_atomic(target, b"same")
    assert target.stat().st_ino == before


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "DISK_FULL"), (errno.EROFS, "DISK_READ_ONLY"), (errno.EIO, "DISK_IO")],
)
def test_os_errors_become_disk_faults_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    target = tmp_path / "kept"
    files.write_atomic(target, b"old")

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(DiskFault) as caught:
        files.write_atomic(target, b"new!")
    assert caught.value.code == code
    assert "4 bytes needed" in caught.value.message
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert pickle.loads(pickle.dumps(caught.value)).code == code


def test_other_os_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.sha256_file(tmp_path / "absent")


def test_missing_space_is_disk_full(tmp_path: Path) -> None:
    files.require_space(tmp_path, 1)
    with pytest.raises(DiskFault, match="bytes needed"):
        files.require_space(tmp_path / "not" / "yet", 1 << 62)


def test_a_run_removes_what_its_dead_writers_left_and_nothing_else(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "r1", "p")
    target = directory.root / "data" / "kept.json"
    files.write_atomic(target, b"{}")
    killed = os.fork()
    if killed == 0:  # dies between write and rename
        files.write_synced(files.temporary_name(target), b"half")
        os._exit(0)
    os.waitpid(killed, 0)
    live = files.temporary_name(target)
    live.write_bytes(b"being written")
    unknown = target.with_name(".tmp-of-nobody")
    unknown.write_bytes(b"?")
    assert len(files.temporaries(tmp_path)) == 3
    directory.clear()
    assert files.temporaries(tmp_path) == sorted([live, unknown])
    assert target.read_bytes() == b"{}"


def test_a_writer_that_is_dead_but_not_waited_for_is_gone(tmp_path: Path) -> None:
    killed = os.fork()
    if killed == 0:
        files.temporary_name(tmp_path / "x.json").write_bytes(b"half")
        os._exit(0)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    try:
        assert [files.abandoned(left) for left in files.temporaries(tmp_path)] == [True]
    finally:
        os.waitpid(killed, 0)


def test_a_number_in_use_again_is_another_process(tmp_path: Path) -> None:
    mine = files.temporary_name(tmp_path / "a-file-1.2-3-4.json")
    assert not files.abandoned(mine)
    number, _, start = mine.name.rsplit("-", 3)[1].partition(".")
    assert (number, start) == (str(os.getpid()), start)
    earlier = mine.name.replace(f"{number}.{start}", f"{number}.{int(start) - 1}")
    assert files.abandoned(mine.with_name(earlier))


def test_where_starts_are_not_told_a_writer_is_gone_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_started", lambda _: None)
    mine = files.temporary_name(tmp_path / "x.json")
    assert ".0-" in mine.name
    assert not files.abandoned(mine)
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    assert files.abandoned(mine.with_name(mine.name.replace(f"{os.getpid()}.0", f"{dead}.0")))
