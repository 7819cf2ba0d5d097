"""``penstock dead export`` and ``import``: dead letters, payloads and all, in a file and back.

JSON lines: a first one that names the format and its version, then one a letter: what ``dead list --json`` shows, for
readers, and in base64 ``info``, ``record`` and ``large_body`` (or null), which alone are read when it is imported.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64decode, b64encode
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import click

from penstock.queue import dead
from penstock.queue.dead import Payload
from penstock.queue.results import DeadLetter
from penstock_worker.cli.audit import audited
from penstock_worker.cli.common import EXIT_NOT_REACHED, json_option, open_queue, print_json, progress_bar
from penstock_worker.cli.dead_json import dead_json
from penstock_worker.cli.dead_pick import filter_of, filters
from penstock_worker.settings import read_settings

FORMAT = {"format": "penstock-dead-letters", "version": 1}

_ANSWERS = {
    "a": "imported",
    "e": "there already",
    "w": "left, because the write is in the queue",
    "f": "left, because the dead letters' limit is reached (`penstock queue configure --dead-bytes`)",
    "m": "left, because there are 16 dead letters of the key, and no more are kept",
    "b": "left, because its large body expired on the way",
    "c": "left, because its number is more than a day ahead of Redis's clock",
}


@click.command(
    short_help="Copy dead letters with their payloads to FILE.",
    epilog="\b\nExamples:\n  penstock dead export all.jsonl\n  penstock dead export old.jsonl --older-than 7d",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@filters
@json_option
def export(file: Path, as_json: bool, **options: Any) -> None:
    """Copy dead letters with their payloads to FILE, which must not exist: all, or those that the options pick.

    They stay where they are. Only you can read the file.
    """
    written = 0
    with open_queue(read_settings()) as queue, ExitStack() as stack:
        letters = [letter for page in list(dead.pages(queue, filter_of(options))) for letter in page]
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise click.UsageError(f"{file}: {error.strerror}") from error
        out = stack.enter_context(os.fdopen(descriptor, "w", encoding="utf-8"))
        progress = stack.enter_context(progress_bar(quiet=as_json))
        out.write(json.dumps(FORMAT) + "\n")
        for letter in progress.track(letters, description="exporting"):
            payload = dead.read_payload(queue.of(letter.bucket, letter.key), letter.seq)
            if payload is not None:  # else retried or purged meanwhile
                out.write(_line(letter, payload))
                written += 1
        out.flush()
        os.fsync(out.fileno())  # who purges next relies on it
    if as_json:
        print_json({"exported": written})
    else:
        click.echo(f"{written:,} dead letters in {file}")


@click.command(
    "import", short_help="Take the dead letters in FILE back.", epilog="\b\nExamples:\n  penstock dead import all.jsonl"
)
@click.argument("file", type=click.File("r", encoding="utf-8", errors="surrogateescape"))
@json_option
def import_(file: IO[str], as_json: bool) -> None:
    """Take the dead letters in FILE back, as `penstock dead export` wrote them.

    They stand with the others then; `penstock dead retry` takes them only with --force, because a newer write of the
    key may have been stored since the export, and putting the old one back would overwrite that.
    """
    answers: Counter[str] = Counter()
    with open_queue(read_settings()) as queue, audited(queue, "dead import", file=file.name) as tally:
        _expect_format(file.readline())
        for number, line in enumerate(file, start=2):
            try:
                answers[dead.restore(queue, _payload(line))] += 1
                tally.count = answers["a"]
            except (ValueError, KeyError, TypeError) as error:
                raise click.ClickException(
                    f"line {number} is no dead letter of this format: {error}; {answers['a']:,} before it were imported"
                ) from error
    if as_json:
        print_json({text: answers[letter] for letter, text in _ANSWERS.items() if answers[letter]})
    else:
        for letter, text in _ANSWERS.items():
            if answers[letter]:
                click.echo(f"{answers[letter]:,} {text}")
    sys.exit(EXIT_NOT_REACHED if any(answers[letter] for letter in "fmbc") else 0)


def _line(letter: DeadLetter, payload: Payload) -> str:
    body = payload.large_body
    packed = {
        "info": b64encode(payload.info).decode(),
        "record": b64encode(payload.record).decode(),
        "large_body": None if body is None else b64encode(body).decode(),
    }
    return json.dumps({**dead_json(letter), **packed}, ensure_ascii=False) + "\n"


def _payload(line: str) -> Payload:
    fields = json.loads(line)
    body = fields["large_body"]
    return Payload(
        int(fields["seq"]),
        b64decode(fields["info"], validate=True),
        b64decode(fields["record"], validate=True),
        None if body is None else b64decode(body, validate=True),
    )


def _expect_format(line: str) -> None:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if found != FORMAT:
        raise click.UsageError(f"not an export of dead letters: its first line must be {json.dumps(FORMAT)}")
