"""The examples for supervisors: a unit file that systemd takes, recipes that stop a worker the right way."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
UNIT = EXAMPLES / "quantctl-worker.service"
DRAIN = re.compile(r"--drain-seconds (\d+)")


@pytest.fixture
def service() -> dict[str, str]:
    """The keys of the section [Service]."""
    parser = configparser.RawConfigParser(strict=True, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def test_systemd_waits_longer_than_the_worker_drains(service: dict[str, str]) -> None:
    drain = DRAIN.search(service["ExecStart"])
    assert drain is not None
    assert int(service["TimeoutStopSec"]) > int(drain[1])
    assert service["KillSignal"] == "SIGTERM"
    assert service["KillMode"] == "mixed"


def test_a_worker_is_started_again_after_a_fault_and_not_after_a_mistake(service: dict[str, str]) -> None:
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"


def test_a_unit_holds_no_secret_and_writes_only_the_data(service: dict[str, str]) -> None:
    assert "Environment" not in service
    assert service["EnvironmentFile"] == "-/etc/quantctl/worker.env"
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"] == f"{service['WorkingDirectory']}/data"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("/srv/desk/.venv/bin/quantctl", "/bin/true")
    (tmp_path / "quantctl-worker.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "quantctl-worker.service")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if "quantctl" in line]
    assert told == []
    broken = tmp_path / "quantctl-broken.service"
    broken.write_text(text.replace("KillMode=mixed", "KillMode=maybe"))
    again = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(broken)], capture_output=True, text=True, timeout=60
    )
    assert "KillMode" in again.stderr or "kill mode" in again.stderr


def test_the_image_installs_by_hash_runs_as_nobody_special_and_gets_sigterm_itself() -> None:
    text = (EXAMPLES / "Containerfile").read_text()
    lines = text.replace("\\\n", " ").splitlines()
    words = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert words <= {
        "FROM",
        "WORKDIR",
        "RUN",
        "COPY",
        "ENV",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    assert "--require-hashes" in text
    assert lines.index("USER quantctl") > max(i for i, line in enumerate(lines) if line.startswith("RUN"))
    assert 'ENTRYPOINT ["quantctl"]' in lines
    assert "STOPSIGNAL SIGTERM" in lines


def test_containers_wait_longer_than_the_worker_drains_and_keep_the_password_out() -> None:
    text = (EXAMPLES / "compose.yaml").read_text()
    worker = yaml.safe_load(text)["services"]["worker"]
    drain = re.search(r'"--drain-seconds", "(\d+)"', (EXAMPLES / "Containerfile").read_text())
    assert drain is not None
    assert int(worker["stop_grace_period"].removesuffix("s")) > int(drain[1])
    assert re.findall(r"quantctl:([^@]*)@", text) == ["${POSTGRES_PASSWORD}"]
    assert worker["build"]["dockerfile"] == "docs/examples/Containerfile"
