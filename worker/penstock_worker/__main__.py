"""``python -m penstock_worker``: the command line with this very interpreter, whatever is on PATH."""

from penstock_worker.cli import main

main()
