"""`python -m examples.demo`: start ivrd with the bank, place one call to it, and show its course.

The call is simulated: this program stands where Asterisk would be, spawns the real shim with three pipes, plays
prompts that nobody hears, and presses keys. All else is as in production. Nothing is left behind; no root is needed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Literal

import trio
from rich.console import Console

from ivrd.errors import IvrdError
from ivrd.simulator.process import ProcessCall, open_exchange
from ivrd.simulator.records import Outcome
from ivrd.simulator.sounds import SoundTable

SCRIPTS = Path(sysconfig.get_path("scripts"))
CONFIG = """
[server]
socket = "ivrd.sock"
worker_socket = "workers.sock"
control_socket = "control.sock"
metrics = ""
allow_users = []
log_format = "json"
drain_timeout = 5.0

[apps.bank]
handler = "bank:main"
path = {path}
"""
# Seconds that Asterisk's stock prompts take.
SOUNDS = SoundTable({"agent-pass": 3.3, "auth-thankyou": 1.0, "vm-youhave": 0.9, "digits/20": 0.9, "vm-goodbye": 0.9})
# What the app's commands mean.
SAYS = {
    "A": "queues the prompt",
    "I": "stops the prompt",
    "V": "sets",
    "E": "leaves to the dialplan:",
    "H": "hangs up:",
}
STARTS_WITHIN, STOPS_WITHIN = 30.0, 15.0  # seconds
EXPECTED = {"BANK_RESULT": "balance", "BANK_HEARD": "all", "IVRD_STATUS": "OK"}


class Course:
    """Prints who does what, as it happens."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def heading(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]")

    def line(self, time: float, who: str, what: str, style: str = "") -> None:
        self._console.print(f"  {time:6.2f} s  {who:<10}{what}", style=style, markup=False, highlight=False)

    def wire(self, time: float, direction: Literal["event", "command", "stderr"], line: bytes) -> None:
        """Take a line between Asterisk and the app; keys are told where they are pressed."""
        tag, _, rest = line.decode(errors="replace").rstrip("\n").partition(",")
        if direction == "command":
            self.line(time, "app", f"{SAYS.get(tag, tag)} {rest if tag != 'I' else ''}", "cyan")
        elif direction == "event" and tag in "FT":
            ended = "played to its end:" if tag == "F" else "stopped:"
            self.line(time, "Asterisk", f"{ended} {rest.partition(',')[2]}", "dim")


async def converse(call: ProcessCall, course: Course) -> None:
    """The caller: a PIN as soon as it is asked for, then 1 for the balance."""
    await call.hears("agent-pass")
    await trio.sleep(0.6)
    for key in "8642#":
        course.line(call.now(), "caller", f"presses {key if key == '#' else '*'}", "yellow")
        call.press(key)
        await trio.sleep(0.15)
    await call.hears("to-listen-to-it")
    await trio.sleep(0.4)
    course.line(call.now(), "caller", "presses 1", "yellow")
    call.press("1")


async def place_call(directory: Path, course: Course) -> bool:
    """Place the call; true when it went as it should."""
    argv = [str(SCRIPTS / "ivrd-shim"), f"--socket={directory}/ivrd.sock", "bank", "1795000000.1", "100"]
    course.heading("A call: ExternalIVR(ivrd-shim(bank,1795000000.1,100))")
    async with open_exchange(sounds=SOUNDS) as exchange:
        call = exchange.dial(argv, trace=course.wire)
        await converse(call, course)
        ending = await call.ended(timeout=20)
        shim = await call.exited()
    variables = {name: call.channel.variables.get(name) for name in EXPECTED}
    course.heading("Back in the dialplan")
    for name, value in variables.items():
        course.line(ending.time, "Asterisk", f"{name} = {value}", "green")
    return ending.outcome is Outcome.CONTINUED and variables == EXPECTED and shim == 0


async def wait_ready(daemon: trio.Process, course: Course) -> None:
    """Read the daemon's log until it is ready."""
    assert daemon.stderr is not None
    log = b""
    with trio.fail_after(STARTS_WITHIN):
        async for data in daemon.stderr:
            log += data
            for line in log.splitlines():
                if line.startswith(b"{") and line.endswith(b"}") and json.loads(line)["event"] == "ready":
                    course.line(0, "ivrd", f"ready, process {daemon.pid}, with its workers warm", "magenta")
                    return
    raise IvrdError(f"ivrd did not start: {log.decode(errors='replace')}")


async def show() -> bool:
    """Start ivrd, place the call, stop ivrd."""
    course = Course(Console())
    with tempfile.TemporaryDirectory(prefix="ivrd-demo-") as name:
        directory = Path(name)
        config = directory / "ivrd.toml"
        config.write_text(CONFIG.format(path=json.dumps(str(Path(__file__).parent))))
        course.heading("ivrd serve")
        daemon = await trio.lowlevel.open_process(
            [str(SCRIPTS / "ivrd"), "serve", "--config", str(config)], stderr=subprocess.PIPE, env={**os.environ}
        )
        try:
            await wait_ready(daemon, course)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_on, daemon)
                served = await place_call(directory, course)
                # In order: the calls, the workers, the daemon.
                daemon.send_signal(signal.SIGTERM)
                status = await daemon.wait()
            course.heading("ivrd has stopped, and nothing of it is left")
        finally:
            await end(daemon)
    return served and status == 0


async def end(daemon: trio.Process) -> None:
    """See that the daemon is gone, and by its own doing its workers as well; a second SIGTERM is for at once."""
    with trio.CancelScope(shield=True), trio.move_on_after(STOPS_WITHIN):
        for _ in range(2 if daemon.returncode is None else 0):
            daemon.send_signal(signal.SIGTERM)
        await daemon.wait()


async def read_on(daemon: trio.Process) -> None:
    """Take what the daemon logs further on: a pipe that nobody reads would hold it up."""
    assert daemon.stderr is not None
    async for _ in daemon.stderr:
        pass


def main() -> int:
    try:
        return 0 if trio.run(show) else 1
    except* (IvrdError, OSError, trio.TooSlowError) as errors:
        print(f"demo: {errors.exceptions[0]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
