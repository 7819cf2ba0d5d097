"""``penstock --help``: commands under headings by what they are for, instead of one list by the alphabet."""

from __future__ import annotations

import click

OTHERS = "Others"


class SectionedGroup(click.Group):
    """A group whose commands are added section by section, and listed so. click's own way to change a help page."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's decorator passes what its own class takes
        self._section_of: dict[str, str] = {}

    def add_section(self, heading: str, *commands: click.Command) -> None:
        for command in commands:
            self.add_command(command)
            self._section_of[command.name or ""] = heading

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = {name: command for name, command in self.commands.items() if not command.hidden}
        headings = dict.fromkeys(self._section_of.get(name, OTHERS) for name in shown)
        widest = max((len(name) for name in shown), default=0)
        room = formatter.width - 6 - widest  # as click has it: two columns, indented and apart by two
        for heading in headings:
            rows = [
                # As wide everywhere, so that the sections' second columns stand in line.
                (name.ljust(widest), command.get_short_help_str(room))
                for name, command in shown.items()
                if self._section_of.get(name, OTHERS) == heading
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)
