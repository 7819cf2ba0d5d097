"""Logs: structlog, one JSON object a line or for people; dramatiq's and others' lines in the same form."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import structlog

_level = logging.INFO
_process: dict[str, str] = {}


def _drop_below_level(
    logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # Not structlog's filtering logger, whose level is fixed once a module has logged its first line.
    if structlog.processors.NAME_TO_LEVEL[method] < _level:
        raise structlog.DropEvent
    return event


def _add_process(
    logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event.update(_process)
    return event


def name_worker(worker_id: str) -> None:
    """Every line from now on names the worker, as `penstock top` does. For any thread."""
    _process["worker"] = worker_id


def name_shard(shard: int, shards: int) -> None:
    """Every line of this thread from now on names the shard that it works for, where there are several."""
    if shards > 1:
        structlog.contextvars.bind_contextvars(shard=shard)


def shows(level: str) -> bool:
    """Whether lines of this level are logged now: for those that cost something to make."""
    return structlog.processors.NAME_TO_LEVEL[level] >= _level


def set_level(level: str) -> None:
    """The least that is logged from now on. For any thread."""
    global _level
    _level = logging.getLevelNamesMapping()[level.upper()]
    # Libraries speak at their own pace: an operator who asks for debug wants Penstock's, and boto3's would hold bodies.
    logging.getLogger().setLevel(max(_level, logging.WARNING))
    logging.getLogger("dramatiq").setLevel(max(_level, logging.WARNING))


def _without_secrets(record: logging.LogRecord) -> bool:
    """boto3's tracebacks quote what a credential process wrote to its stderr."""
    if record.name.startswith("boto"):
        record.exc_info = record.exc_text = None
    return True


class _LossyLogger(structlog.WriteLogger):
    """Its lines are lost while stderr cannot be written.

    A full disk, or a reader that died, must not decide what becomes of a write: a line stands between almost any two
    steps. Metrics and health tell what matters too.
    """

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    debug = info = warning = error = critical = msg


def configure(level: str, form: str) -> None:
    """Sends structlog and the standard library's logging to stderr. ``form``: ``json`` or ``console``."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        # Plain tracebacks: structlog's own choice shows the variables of each frame, so bodies and credentials.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            _drop_below_level,
            *shared,
            *([structlog.processors.format_exc_info] if form == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=lambda *_: _LossyLogger(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, renderer,
        ])
    )  # fmt: skip
    handler.addFilter(_without_secrets)
    root = logging.getLogger()
    root.handlers = [handler]
    set_level(level)
