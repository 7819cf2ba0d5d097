"""The help pages and the shells' completion: every command is found, and none is cut off."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from penstock_worker.cli import cli
from penstock_worker.cli.sections import OTHERS
from tests.support.worker import IMPORT_PATH, run_command


def groups(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from groups(command, *path, name)


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def page(*args: str) -> str:
    done = CliRunner().invoke(cli, [*args, "--help"], prog_name="penstock", terminal_width=80)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("path", list(groups(cli)), ids=" ".join)
def test_no_line_of_a_list_of_commands_is_cut_off(path: tuple[str, ...]) -> None:
    assert "..." not in page(*path).replace("[ARGS]...", "")


def test_every_command_stands_under_a_heading() -> None:
    text = page()
    assert OTHERS not in text
    for name in cli.commands:
        assert text.count(f"\n  {name} ") == 1
    assert text.index("Run:") < text.index("Look after the queue:") < text.index("One object by hand:")


def test_every_command_has_examples_of_itself() -> None:
    for path, command in commands(cli):
        if not isinstance(command, click.Group):
            assert f"penstock {' '.join(path)}" in (command.epilog or ""), path


def test_completion_offers_commands_and_options() -> None:
    def offered(args: list[str], incomplete: str) -> set[str]:
        complete = BashComplete(cli, {}, "penstock", "_PENSTOCK_COMPLETE")
        return {item.value for item in complete.get_completions(args, incomplete)}

    assert offered([], "do") == {"doctor"}
    assert offered(["queue"], "") >= {"stats", "drain"}
    assert offered(["put", "key", "file", "--priority"], "c") == {"critical"}
    assert "--no-s3" in offered(["doctor"], "--")


def test_the_documented_variable_prints_the_shells_script_whatever_the_settings_are() -> None:
    done = run_command(
        env={
            "_PENSTOCK_COMPLETE": "bash_source",
            "PENSTOCK_NONSENSE": "1",
            "PATH": os.defpath,
            "PYTHONPATH": IMPORT_PATH,
        }
    )
    assert done.returncode == 0
    assert b"_penstock_completion" in done.stdout
