"""`ivrd dial`: call an app from the terminal or from a script, with no Asterisk.

The rule that holds here: what is printed and written is fit to be seen, secret digits masked; the exit status says
whether the call went as its script and the app meant it to.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ivrd.cli.options import config_option, plain_errors
from ivrd.config import App, Config, load
from ivrd.errors import ConfigError, IvrdError

if TYPE_CHECKING:
    from ivrd.phone.recording import Recording
    from ivrd.simulator.sounds import Sounds

__all__ = ["dial"]


@click.command(epilog="The caller's script: keys such as 1 or 22#, tap:KEYS, wait:PROMPT, pause:SECONDS, "
               "hangup:SECONDS, patience:SECONDS, divided by blanks.")  # fmt: skip
@config_option
@click.argument("app")
@click.argument("args", nargs=-1)
@click.option("--keys", metavar="SCRIPT", help="What the caller does, instead of the keyboard.")
@click.option(
    "--fast", is_flag=True, help="In virtual time: waiting takes none. Needs --keys; not for apps that use a network."
)
@click.option("--json", "as_json", is_flag=True, help="The call as JSON, for scripts.")
@click.option("--shim", is_flag=True, help="Call a running daemon, through the real shim.")
@click.option("--command", is_flag=True, help="APP is a program, with its path; ARGS are its arguments.")
@click.option(
    "--stock/--patched", default=True, show_default=True,
    help="For --command and --shim: Asterisk as it is, or one that works off what a program writes at once."
)  # fmt: skip
@click.option("--options", default="", metavar="LETTERS", help="ExternalIVR()'s options, of n, i and d.")
@click.option("--set", "variables", multiple=True, metavar="NAME=VALUE", help="A channel variable; as often as needed.")
@click.option(
    "--sounds", metavar="DIR", type=click.Path(exists=True, file_okay=False),
    help="Asterisk's sounds, for prompts' lengths; else any prompt plays a second, or as in the recording."
)  # fmt: skip
@click.option(
    "--audio", metavar="FILE", help="Write what is heard to a .wav; from .wav, .ulaw, .alaw and .slin, no .gsm."
)
@click.option("--save", metavar="FILE", help="Record the call.")
@click.option("--replay", metavar="FILE", help="Be the caller of a recording, and tell where the app now differs.")
@click.option(
    "--secret", default="", metavar="DIGITS", help="For --replay: the secret keys, which are in no recording."
)
@click.option(
    "--backend", type=click.Choice(["asyncio", "trio"]), help="The loop for module:function; asyncio when not given."
)
@click.option(
    "--lifespan", default="", metavar="MODULE:FUNCTION", help="For module:function: what is entered around it."
)
def dial(config_path: str, app: str, args: tuple[str, ...], **given: Any) -> None:
    """Call APP: a configured app's name, or module:function with no configuration at all."""
    try:
        with plain_errors():
            status = _dial(config_path, app, args, given)
    except SystemExit as error:
        _leave(int(error.code or 0))
    except KeyboardInterrupt:
        click.echo("ivrd: left without waiting for the app, the call is not told", err=True)
        _leave(128 + signal.SIGINT, at_once=True)  # virtual time passes on a thread, which may be busy for good
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        os._exit(1)  # nobody is there to be told
    _leave(status)


def _leave(status: int, *, at_once: bool = False) -> NoReturn:
    """End the process, as a worker ends: threads that the app has left behind are not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    if at_once or any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        os._exit(status)
    raise SystemExit(status)


def _dial(config_path: str, app: str, args: tuple[str, ...], given: Mapping[str, Any]) -> int:
    from ivrd.cli import dialling, telling, words
    from ivrd.cli.terminal import Terminal
    from ivrd.phone import recording, replay
    from ivrd.simulator import script

    then = recording.load(given["replay"]) if given["replay"] else None
    steps = script.read(given["keys"] or "") if then is None else replay.script_of(then, given["secret"])
    scripted = given["keys"] is not None or then is not None
    _check(app, given, scripted)
    variables = dict(_assignment(text) for text in given["variables"])
    for caution in replay.cautions(then, variables) if then else ():
        click.echo(f"ivrd: {words.printable(caution)}", err=True)
    terminal = Terminal(screen=not given["fast"], keys=not scripted, as_json=given["as_json"])

    def leave(served: dialling.Served) -> NoReturn:
        terminal.restore()
        _leave(after.tell(served), at_once=True)

    order = dialling.Order(
        title=f"{app}({','.join(args)})" if args else app,
        args=args or (then.args if then else ()),
        options=given["options"] or (then.options if then else ""),
        variables={**(replay.variables_of(then) if then else {}), **variables},
        sounds=_sounds(given["sounds"], then),
        steps=steps,
        burst_stall=given["stock"],
        terminal=terminal,
        leave=leave,
    )
    after = telling.After(app, order, as_json=given["as_json"], then=then, save=given["save"], audio=given["audio"])
    with terminal:
        if given["command"]:
            served = dialling.dial_program([app, *args], order)
        elif given["shim"]:
            socket = load(config_path).server.socket
            served = dialling.dial_program([dialling.find_shim(), f"--socket={socket}", app, *args], order)
        else:
            call = dialling.dial_app_fast if given["fast"] else dialling.dial_app
            served = call(_configured(config_path, app, given), app, order)
    return after.tell(served)


def _check(app: str, given: Mapping[str, Any], scripted: bool) -> None:
    elsewhere = given["shim"] or given["command"]
    own = ":" in app and not elsewhere
    for wrong, what in (
        (given["shim"] and given["command"], "--shim and --command: give one of them"),
        (given["fast"] and (elsewhere or not scripted),
         "--fast is for an app in this process and a caller with a script: add --keys, leave --shim out"),
        (given["keys"] is not None and given["replay"],
         "--keys and --replay: give one of them, both say what the caller does"),
        (not given["stock"] and not elsewhere,
         "--patched is for a program that may write several lines at once (--command, --shim); an app cannot"),
        (given["secret"] and not given["replay"], "--secret gives back what a recording hides: add --replay FILE"),
        (not scripted and not sys.stdin.isatty(),
         "standard input is no terminal to press keys on: say what the caller does with --keys SCRIPT"),
        (given["audio"] and not given["sounds"],
         "--audio needs the prompts' files: say where they are with --sounds DIR"),
        ((given["backend"] or given["lifespan"]) and not own,
         "--backend and --lifespan are for module:function; a configured app has its own, a program has none"),
        (set(given["options"]) - set("nid"),
         f"--options {given['options']!r}: ExternalIVR() knows n (do not answer), i (tell of the hangup), d (dead)"),
    ):  # fmt: skip
        if wrong:
            raise IvrdError(what)
    for option in "save", "audio":
        path = given[option]
        if path and not os.access(path if os.path.exists(path) else os.path.dirname(os.path.abspath(path)), os.W_OK):
            raise IvrdError(
                f"--{option} {path}: it cannot be written there; see that the directory is there, and yours"
            )
        if path and os.path.isdir(path):
            raise IvrdError(f"--{option} {path}: that is a directory; name a file")


def _sounds(directory: str | None, then: Recording | None) -> Sounds:
    from ivrd.phone import replay
    from ivrd.simulator.sounds import DirectorySounds, SoundTable

    if directory:
        return DirectorySounds(directory)
    return SoundTable() if then is None else replay.sounds_of(then)


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise IvrdError(f"--set {text!r}: write NAME=VALUE")
    return name, value


def _configured(config_path: str, app: str, given: Mapping[str, Any]) -> App:
    if ":" in app:
        return App(handler=app, path=os.getcwd(), backend=given["backend"] or "asyncio", lifespan=given["lifespan"])
    if not os.path.exists(config_path):
        raise ConfigError(
            f"{config_path} is not there to find app {app!r} in: name one with --config FILE, or dial module:function"
        )
    config: Config = load(config_path)
    if app not in config.apps:
        raise ConfigError(f"{config_path} has no app {app!r}: it has {', '.join(config.apps)}; or dial module:function")
    return config.apps[app]
