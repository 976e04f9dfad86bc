"""`python -m ivrd.worker`: what the daemon starts; not for people.

The rule that holds here: what the daemon told this process is out of the environment before the app can see it, and
signals that are meant for the daemon do nothing here. What the app prints is in the log at once, and a line at a time;
what it lets pass is in the log without a secret.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import signal
import sys
from typing import Any

import anyio
import msgspec

from ivrd.observe.logging import print_whole_lines
from ivrd.wire.messages import WorkerSpec
from ivrd.worker.log import WorkerLog
from ivrd.worker.runtime import Worker

VARIABLE = "IVRD_WORKER"


def main() -> None:
    """Run one worker process."""
    try:
        spec = msgspec.json.decode(os.environ.pop(VARIABLE), type=WorkerSpec)
    except (KeyError, msgspec.MsgspecError) as error:
        sys.exit(f"ivrd.worker is started by `ivrd serve`, which sets {VARIABLE}: {error!r}")
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    print_whole_lines()
    # The daemon asks a stuck worker for its stacks by this signal.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    log = WorkerLog(spec)
    log.tell_uncaught()
    options: dict[str, Any] = {}
    if spec.app.backend == "asyncio":
        from ivrd.worker.isolation import IsolatingLoop

        options["loop_factory"] = functools.partial(IsolatingLoop, log)

    async def run() -> None:
        await Worker(spec, log, os._exit).run()

    anyio.run(run, backend=spec.app.backend, backend_options=options)


main()
