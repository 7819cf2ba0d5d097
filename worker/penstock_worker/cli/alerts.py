"""``penstock alerts``: the alert rules with your own thresholds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from penstock_worker.alerts.render import rules, rules_yaml
from penstock_worker.alerts.thresholds import THRESHOLDS, Threshold, Value, shown


class ThresholdType(click.ParamType[Value]):
    """A threshold's value, in its range."""

    def __init__(self, threshold: Threshold) -> None:
        self.name = threshold.unit
        self._threshold = threshold

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Value:
        try:
            return self._threshold.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(short_help="The alert rules for Prometheus.")
def alerts() -> None:
    """The alert rules for Prometheus, made with thresholds of your own; nobody edits their YAML."""


def _threshold_options(command: Callable[..., None]) -> Callable[..., None]:
    for one in reversed(THRESHOLDS.values()):
        option = f"--{one.name.replace('_', '-')}"
        text = f"{one.sentence} [{shown(one.default)}]"
        command = click.option(option, one.name, type=ThresholdType(one), help=text)(command)
    return command


@alerts.command(
    short_help="Print the rules, with the thresholds that are given.",
    epilog="""\b
Examples:
  penstock alerts render --output /etc/prometheus/rules/penstock.yml
  penstock alerts render --runbook-url https://wiki.example/penstock --oldest-critical 30
  penstock alerts render --worker-missing-writes 1      where workers scale to zero
  promtool check rules <(penstock alerts render)
""",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write them to FILE, which is replaced, instead of stdout.",
    metavar="FILE",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs; Prometheus reads it too.")
@_threshold_options
def render(output: Path | None, as_json: bool, **given: Value | None) -> None:
    """Print the alert rules for Prometheus. Each threshold has an option; its default is in brackets.

    Durations are written as 30s, 5m, 1h or 1d, ages and clocks in seconds, shares between 0 and 1.
    """
    values = {name: value for name, value in given.items() if value is not None}
    text = json.dumps(rules(values), ensure_ascii=False, indent=2) + "\n" if as_json else rules_yaml(values)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--output {output}: {error.strerror}") from error
