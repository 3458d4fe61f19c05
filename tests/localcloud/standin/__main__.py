"""python -m tests.localcloud.standin --dir RUN_DIRECTORY

Prints one line, the value for TF_REATTACH_PROVIDERS, and serves until SIGTERM, SIGINT or the end
of the process that started it.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading

from . import serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.localcloud.standin", description=__doc__)
    parser.add_argument("--dir", default=".", help="where the unix socket is made")
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    parent = os.getppid()
    with serve(parser.parse_args().dir) as reattach:
        print(reattach, flush=True)
        while not stop.wait(1.0) and os.getppid() == parent:
            pass


main()
