"""The command line: global options, lazily imported commands, typed errors and exit codes.

Nothing of the engine is imported here; a command's module is imported when it is called.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from quantctl import __version__
from quantctl.commands import ROWS, Row
from quantctl.contracts.errors import ConfigError, EnvironmentFault, InternalError, Interrupted, QuantError
from quantctl.contracts.nearest import did_you_mean
from quantctl.invocation import Invocation
from quantctl.output import print_error

# Read when NumPy loads its BLAS: kernels run on one thread, and idle threads would only spin.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# A command makes few cycles, but imports a million objects that the collector would walk again and again.
COLLECT_AFTER = (50_000, 20, 20)
LOG_LEVELS = ("debug", "info", "warning", "error")
_TABLE = {row.name: row for row in ROWS}


class Commands(typer.core.TyperGroup):
    """The top group: names and sentences come from the table, the code from its module on demand."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        """Names of all commands, hidden ones included."""
        return list(_TABLE)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ARG002
        """The command called `cmd_name`, or None."""
        row = _TABLE.get(cmd_name)
        return None if row is None else load(row)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # noqa: ARG002
        """Write the command list by topic, without importing any command."""
        for topic in dict.fromkeys(row.topic for row in ROWS):
            rows = [(row.name, row.sentence) for row in ROWS if row.topic == topic and not row.hidden]
            with formatter.section(topic):
                formatter.write_dl(rows)


def load(row: Row) -> Any:
    """Import the command of a row."""
    app = import_module(f"quantctl.commands.{row.module}").app
    group = typer.main.get_group(app)
    if row.group:
        group.name = row.name
        return group
    return group.commands[row.name]


app = typer.Typer(
    cls=Commands,
    name="quantctl",
    help="From a market to an auditable set of weights, and back from any weight to its data and rule.",
    epilog="Options above stand before the command. Exit codes: 0 ok, 1 gate failed, 2 usage, "
    "3 data missing, 4 infeasible, 5 interrupted and resumable, 70 internal.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"quantctl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file, after the profile.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key; repeatable."),
    ] = None,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "warning",
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    if log_level not in LOG_LEVELS:
        hint = did_you_mean(log_level, LOG_LEVELS)
        raise ConfigError("USAGE", f"unknown log level {log_level!r}{hint}", where="--log-level")
    _log_to_stderr(log_level.upper())
    if no_color:
        os.environ["NO_COLOR"] = "1"
    ctx.obj = Invocation(config, tuple(override or ()))


def _log_to_stderr(level: str) -> None:
    """JSON lines: ours from `level` on, of third parties warnings at least."""
    from quantctl.workflows.logs import JsonLines

    ours, others = logging.getLogger("quantctl"), logging.getLogger()
    least = {ours: logging.getLevelName(level), others: max(logging.getLevelName(level), logging.WARNING)}
    for logger in (ours, others):
        for old in [handler for handler in logger.handlers if handler.name == "stderr"]:
            logger.removeHandler(old)
        handler = logging.StreamHandler(sys.stderr)
        handler.name = "stderr"
        handler.setLevel(least[logger])
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
    ours.setLevel(level)
    ours.propagate = False


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns its exit code (0 1 2 3 4 5 70)."""
    for variable in ONE_THREAD:
        os.environ.setdefault(variable, "1")
    words = sys.argv[1:] if argv is None else argv
    as_json = "--json" in words
    try:
        code = typer.main.get_group(app).main(words, prog_name="quantctl", standalone_mode=False)
    except (QuantError, EnvironmentFault) as problem:
        return print_error(problem, as_json=as_json)
    except typer.TyperException as problem:
        return print_error(_usage(problem), as_json=as_json)
    except (typer.Abort, KeyboardInterrupt):
        return print_error(_interrupted(), as_json=as_json)
    except Exception as problem:  # noqa: BLE001  (the last line of defence)
        return print_error(_internal(problem, words), as_json=as_json)
    if code == 130:
        return print_error(_interrupted(), as_json=as_json)
    return code if isinstance(code, int) else 0


def _usage(problem: Any) -> ConfigError:
    """The typed form of a usage error, with the nearest known name."""
    ctx = getattr(problem, "ctx", None)
    path = ctx.command_path if ctx is not None else "quantctl"
    remedy = f"{path} --help"
    if type(problem).__name__ == "NoArgsIsHelpError" and ctx is not None:
        print(ctx.get_help(), file=sys.stderr)
        return ConfigError("USAGE", "no command was given", where=path, remedy=remedy)
    message = str(getattr(problem, "message", problem)).rstrip(".")
    option = getattr(problem, "option_name", None)
    if message.startswith("No such option") and option and ctx is not None:
        if misplaced := _misplaced(option, ctx):
            return misplaced
        known = [name for parameter in ctx.command.params for name in parameter.opts]
        hint = did_you_mean(option, [*known, "--help"])
        return ConfigError("OPTION_UNKNOWN", f"unknown option {option}{hint}", where=path, remedy=remedy)
    unknown = re.match(r"No such command ['\"]?(.*?)['\"]?(\.|$)", message)
    if unknown and ctx is not None:
        name = unknown.group(1)
        hint = did_you_mean(name, ctx.command.list_commands(ctx))
        return ConfigError("COMMAND_UNKNOWN", f"unknown command {name!r}{hint}", where=path, remedy=remedy)
    text = problem.format_message() if hasattr(problem, "format_message") else message
    return ConfigError("USAGE", text.rstrip("."), where=path, remedy=remedy)


def _misplaced(option: str, ctx: Any) -> ConfigError | None:
    """The error for a global option after the command, or for `--json` before it."""
    path, root = ctx.command_path, ctx.find_root()
    if ctx is root and option == "--json":
        return ConfigError(
            "OPTION_UNKNOWN", "--json stands after the command", where=path, remedy="quantctl COMMAND --json"
        )
    if ctx is root or option not in {name for parameter in root.command.params for name in parameter.opts}:
        return None
    return ConfigError(
        "OPTION_UNKNOWN", f"{option} stands before the command", where=path,
        remedy=f"quantctl {option} ... {path.removeprefix('quantctl ')} ...",
    )  # fmt: skip


def _interrupted() -> Interrupted:
    return Interrupted("INTERRUPTED", "interrupted; nothing is lost", remedy="quantctl status")


def _internal(problem: Exception, words: list[str]) -> InternalError:
    if "debug" in words:
        import traceback

        traceback.print_exception(problem)
    return InternalError(
        "INTERNAL",
        f"{type(problem).__name__}: {problem}",
        remedy="quantctl --log-level debug ... prints the traceback; please report it",
    )


def run() -> None:
    """Console entry point."""
    gc.set_threshold(*COLLECT_AFTER)
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    if any(not thread.daemon for thread in others):
        os._exit(code)  # a stage that outlived its grace would keep the process, and the lock, alive
    gc.freeze()  # the last collections would walk all of it once more, half a second after a run
    sys.exit(code)


if __name__ == "__main__":
    run()
