"""A file system of few megabytes, which a test can fill."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = "48m"
STEP = 64 * 1024
_FILLER = "filler"


class CannotMountError(Exception):
    """This user or this machine may not; the message says why."""


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A tmpfs on ``directory``, which is made. Raises CannotMountError."""
    directory.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        raise CannotMountError("there is no mount(8) here")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().partition("\n")[0]
        raise CannotMountError(f"needs the right to mount a tmpfs, as root has it: {reason}") from None
    try:
        yield directory
    finally:
        subprocess.run([umount, "--lazy", str(directory)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No byte is left on it; when the context is left there is room again."""
    filler = disk / _FILLER
    try:
        with filler.open("wb", buffering=0) as file:
            size = STEP
            while size:
                try:
                    if file.write(bytes(size)) < size:
                        size //= 2
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
        yield
    finally:
        filler.unlink()
