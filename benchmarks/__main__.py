"""The benchmark: Penstock beside what a user would take instead, side by side in one run. `make bench`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import click
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.processes import ProcessError
from benchmarks.report import ANSWERS, conditions, describe
from benchmarks.rounds import Measure, Result, Run
from benchmarks.stack import Stack
from benchmarks.suite import MEASURES
from penstock.errors import PenstockError
from penstock_worker.demo.servers import ServerError

NAMES = [measure.name for measure in MEASURES]
FAILURES = (ProcessError, ServerError, PenstockError, RedisError, OSError)
EXAMPLES = """\b
Examples:
  python -m benchmarks --quick
  python -m benchmarks --only put --only put-many
  python -m benchmarks --json benchmarks/results.json --pictures docs/images
"""


@click.command(epilog=EXAMPLES, help=__doc__)
@click.option("--quick", is_flag=True, help="A minute or two: shows that all runs; its figures say little.")
@click.option("--only", "names", multiple=True, type=click.Choice(NAMES), metavar="NAME", help="Only this; repeatable.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Writes the figures there.")
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), help="Draws pictures in this directory.")
@click.option("--list", "lists", is_flag=True, help="Lists the measures, and runs none.")
@click.option("--redis", "server", metavar="PATH", help="The server's executable; by default the wheel's Valkey.")
@click.option("--stub", is_flag=True, help="Sends to the asyncio stub, also where nginx is installed.")
def main(
    quick: bool,
    names: tuple[str, ...],
    json_path: Path | None,
    pictures: Path | None,
    lists: bool,
    server: str | None,
    stub: bool,
) -> None:
    if lists:
        for measure in MEASURES:
            click.echo(f"{measure.name:20} {measure.about}")
        return
    for path in (json_path.parent if json_path else None, pictures):
        if path is not None and not path.is_dir():
            raise click.UsageError(f"{path} is no directory: make it first")
    if server is not None and shutil.which(server) is None:
        raise click.UsageError(f"--redis {server}: no such program; name a valkey-server or redis-server")
    chosen = [measure for measure in MEASURES if not names or measure.name in names]
    console = Console()
    failed: list[str] = []
    load = os.getloadavg()[0]
    with Stack(nginx=not stub, server=server) as stack:
        results = _run_all(stack, chosen, quick, failed)
        report = describe(stack, results, quick=quick, load=load)
    console.print(_table(results))
    console.print(conditions(report), style="dim", highlight=False, soft_wrap=True)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if pictures is not None:
        from benchmarks.pictures import draw_all  # matplotlib takes a second, and only this needs it

        for drawn in draw_all(results, pictures):
            console.print(f"drawn: {drawn}")
    if failed:
        raise SystemExit(1)


def _run_all(stack: Stack, measures: list[Measure], quick: bool, failed: list[str]) -> list[Result]:
    """A measure that fails is a row that says so; the others run all the same. Names of the failed go to ``failed``."""
    results: list[Result] = []
    columns = (
        SpinnerColumn(),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=len(measures))
        for measure in measures:
            shown.update(task, description=measure.about)
            run = Run(stack, quick, lambda text: shown.update(task, description=text))
            stack.flush()
            try:
                found = measure.run(run)
            except FAILURES as error:
                failed.append(measure.name)
                # The whole of it is for the terminal alone: a log's end may name paths of this machine.
                shown.console.print(str(error), style="red", markup=False, soft_wrap=True)
                found = [Result(measure.about, "", "failed", None, note=type(error).__name__)]
            for result in found:
                line = f"{result.measure}: {result.value}"
                shown.console.print(line, highlight=False, markup=False, soft_wrap=True)
            results += found
            shown.advance(task)
    return results


def _table(results: list[Result]) -> Table:
    table = Table("measure", "target", "measured", "met", pad_edge=False)
    for result in results:
        answer = ANSWERS[result.met].strip("*")
        style = {True: "green", False: "red", None: ""}[result.met]
        table.add_row(result.measure, result.target, result.value, f"[{style}]{answer}[/]" if style else answer)
    return table


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
