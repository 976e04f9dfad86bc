"""What an application says to Asterisk: one function a command, each giving one whole line for one `write()`.

The rule that holds here: what is returned means to Asterisk exactly what was asked, or `InvalidValue` is raised and
nothing exists to be sent. Asterisk reads at most 1,023 bytes and runs the rest of a longer line as a command of its
own, drops in silence what is shorter than three characters, strips blanks and control characters from the end, and
knows no escapes; in `V` a comma starts the next assignment and a name that ends in `)` is a write to a dialplan
function, which can write files.

Prompts and values are refused when they do not fit. Free text for Asterisk's log is mended instead, because a log line
must never be what ends a call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from ivrd.errors import InvalidValue

__all__ = [
    "MAX_LINE",
    "MIN_LINE",
    "answer",
    "append",
    "as_text",
    "autoclear",
    "check_line",
    "command_tag",
    "exit",
    "get_params",
    "get_variables",
    "hangup",
    "interrupt",
    "log",
    "play_now",
    "send_dtmf",
    "sending_seconds",
    "set_function",
    "set_variables",
]

MAX_LINE: Final = 1023
"""Bytes of the longest line that Asterisk reads as one, newline included (a buffer of 1,024 with its NUL)."""
MIN_LINE: Final = 3
"""Bytes below which Asterisk drops a line unread, once the newline and trailing blanks are off."""

_LONGEST_MS: Final = 60_000
_PAUSE_MS: Final = 250
_SHORTEST_KEY_MS: Final = 100
_FILLER: Final = "ivrd"
# `X` is missing on purpose: it is `E` without the reply, deprecated.
_LINE: Final = re.compile(rb"[ADEGHILOPSTV],[^\0\r\n]*[^\0-\x20][^\0\r\n]*\n")
# What ast_strip() takes off the end: all characters below 33.
_BLANKS: Final = "".join(map(chr, range(33)))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PROMPT_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# Up to two underscores in front are not part of the name: they say who inherits the variable.
_NAME_TO_SET: Final = re.compile(r"_{0,2}[A-Za-z0-9][A-Za-z0-9_]*")
_NAME_TO_GET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
# The argument may hold nothing that V, ast_func_write() or a function's own argument parser takes as punctuation.
_FUNCTION: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\(([A-Za-z0-9_.:/@*#+~ -]*)\)")
_DTMF: Final = re.compile(r"[0-9*#A-Da-dWwFf]+")


def play_now(prompt: str) -> bytes:
    """Make `S`: clear the playlist and play this prompt.

    Args:
        prompt: a sound file's name without its extension, relative to the sounds directory or absolute, or a URL.
            Asterisk takes all of it as one name: `&`, `,` and `|` separate nothing, and `${…}` is not substituted.

    Returns:
        The line. Asterisk answers `Z` with the name if there is no such file, `Z` without data if the channel is not
        up.

    Raises:
        InvalidValue: the name is empty or too long, has control characters, or blanks at an end.
    """
    return _line("S", _prompt(prompt))


def append(prompt: str) -> bytes:
    """Make `A`: put a prompt at the end of the playlist; arguments and errors as in `play_now`."""
    return _line("A", _prompt(prompt))


def interrupt() -> bytes:
    """Make `I`: stop the prompt that plays (event `T`) and clear the playlist (a `D` for each that waited)."""
    return _line("I", "x")


def autoclear(on: bool) -> bytes:
    """Make `O`: let each key clear the playlist from now on, or not; off is how a call starts."""
    return _line("O", "autoclear" if on else "noautoclear")


def answer() -> bytes:
    """Make `T`: answer the channel if it is not up, and start the sound (needed under option `n` only)."""
    return _line("T", "x")


def send_dtmf(digits: str, interval_ms: int | None = None, duration_ms: int | None = None) -> bytes:
    """Make `D`: send keys to the caller; until they are sent the channel neither plays, hears nor reads commands.

    Args:
        digits: `0`-`9`, `*`, `#`, `A`-`D`; `w` and `W` wait half a second and a second, `F` is a hook flash.
        interval_ms: the pause between digits, 1 to 60,000 milliseconds; Asterisk's own is 250.
        duration_ms: the length of a digit, 1 to 60,000 milliseconds; Asterisk makes at least 100 of it.

    Returns:
        The line.

    Raises:
        InvalidValue: no digits, others than these, too many for a line, or a time out of range.
    """
    if not isinstance(digits, str):
        raise _no_text("what is sent as DTMF", digits)
    if not _DTMF.fullmatch(digits):
        raise InvalidValue(f"DTMF digits {_shown(digits)}: send one or more of 0-9, *, #, A-D, w, W and F")
    words = [digits, _milliseconds("interval_ms", interval_ms), _milliseconds("duration_ms", duration_ms)]
    return _line("D", ",".join(words).rstrip(","))


def sending_seconds(digits: str, interval_ms: int | None = None, duration_ms: int | None = None) -> float:
    """Reckon for how long `send_dtmf` keeps the channel's thread busy; arguments as there, and legal ones.

    A tenth of a second comes first, and each key is followed by its pause (`ast_dtmf_stream` in `main/app.c`).
    """
    pause = (interval_ms or _PAUSE_MS) / 1000
    key = max(duration_ms or 0, _SHORTEST_KEY_MS) / 1000 + pause
    lengths = {"w": 0.5, "W": 1.0, "f": pause, "F": pause}
    return 0.1 + sum(lengths.get(digit, key) for digit in digits)


def set_variables(variables: Mapping[str, str]) -> bytes:
    """Make `V`: set channel variables.

    Args:
        variables: values by name. A name has letters, digits and underscores; one underscore in front lets the channels
            that this one dials inherit the variable, two theirs too. Values are stored as they are, nothing in them is
            substituted; blanks and control characters at the end of a value are left out, as Asterisk does at the end
            of a line.

    Returns:
        One line for all of them.

    Raises:
        InvalidValue: nothing to set, a name that is not plain (dialplan functions among them), a value that is not a
            `str` or has a comma, CR, LF or NUL, or too much for one line.
    """
    if not variables:
        raise InvalidValue("no variable to set: give at least one name and value")
    for name in variables:
        if not isinstance(name, str):
            raise _no_text("variable name", name)
        if not _NAME_TO_SET.fullmatch(name):
            raise InvalidValue(
                f"variable name {_shown(name)}: use letters, digits and underscores only; "
                f"to write a dialplan function use set_function()"
            )
    return _line("V", ",".join(f"{name}={_value(name, value)}" for name, value in variables.items()))


def set_function(name: str, value: str, allowed: Collection[str]) -> bytes:
    """Make `V` that writes a dialplan function, `CALLERID(num)` for one.

    Args:
        name: the function and its argument in parentheses. A comma cannot be said: `V` would take it for the next
            assignment.
        value: what to write, under the rules for values of `set_variables`.
        allowed: names of the functions that this app may write, without parentheses.

    Returns:
        The line.

    Raises:
        InvalidValue: the name is not of that form or not allowed, or the value is not legal.
    """
    if not isinstance(name, str):
        raise _no_text("function name", name)
    call = _FUNCTION.fullmatch(name)
    if not call:
        raise InvalidValue(
            f"function name {_shown(name)}: write it as FUNCTION(argument), "
            f"with letters, digits, blanks and _ . : / @ * # + ~ - in the argument"
        )
    if call[1] not in allowed:
        raise InvalidValue(f"function {call[1]} may not be written by this app: add it to the app's allow_functions")
    return _line("V", f"{name}={_value(name, value)}")


def get_variables(*names: str) -> bytes:
    """Make `G`: ask for variables; `Variables.values` takes the reply apart.

    Args:
        names: names of channel or global variables, without the underscores of inheritance. Asterisk looks among stored
            variables only: what it computes (`CHANNEL`, `UNIQUEID`) comes back empty, so pass that as an argument in
            the dialplan.

    Returns:
        The line.

    Raises:
        InvalidValue: no name, a name that is not plain (dialplan functions among them), or too many for one line.
    """
    if not names:
        raise InvalidValue("no variable to get: give at least one name")
    for name in names:
        if not isinstance(name, str):
            raise _no_text("variable name", name)
        if not _NAME_TO_GET.fullmatch(name):
            raise InvalidValue(
                f"variable name {_shown(name)}: ask for letters, digits and inner underscores; "
                f"a function's value has to be passed as an argument by the dialplan"
            )
    return _line("G", ",".join(names))


def get_params() -> bytes:
    """Make `P`: ask for the command and arguments that the dialplan gave (the only way to them on `ivr://`)."""
    return _line("P", "x")


def log(text: object) -> bytes:
    """Make `L`: a line in Asterisk's log.

    Args:
        text: anything, as `as_text` gives it; control characters become blanks, what does not fit into a line is cut,
            nothing at all becomes "ivrd".

    Returns:
        The line.
    """
    return _line("L", _free_text(text))


def exit(text: object = "") -> bytes:  # noqa: A001 - the command's name in the protocol; used as `eivr.exit`
    """Make `E`: leave ExternalIVR, so that the dialplan continues; the text goes to Asterisk's log as in `log`."""
    return _line("E", _free_text(text))


def hangup(text: object = "") -> bytes:
    """Make `H`: hang up; the text goes to Asterisk's log as in `log`."""
    return _line("H", _free_text(text))


def as_text(value: object) -> str:
    """Give what `print` would, for free text; whatever it is, this raises nothing."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} whose str() raised {type(error).__name__}>"


def command_tag(line: bytes) -> str:
    """Give the letter of a command made here, for counting by kind."""
    return chr(line[0])


def check_line(line: bytes) -> None:
    """See that Asterisk will read this as exactly one command: the last check before anything is written.

    Raises:
        InvalidValue: it is not one whole, legal line.
    """
    if len(line) > MAX_LINE:
        raise InvalidValue(
            f"command {chr(line[0])} of {len(line)} bytes: Asterisk reads {MAX_LINE} and runs the rest as a command; "
            f"shorten it or send it in parts"
        )
    if not _LINE.fullmatch(line):
        raise InvalidValue(
            f"command {line[:80]!r} is not one line of letter, comma, data and newline: "
            f"make it with the functions of ivrd.eivr"
        )


def _line(letter: str, data: str) -> bytes:
    try:
        # Joined and not formatted: of a `str` that is a member of an enum, formatting would make its name.
        line = "".join((letter, ",", data, "\n")).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidValue(f"{_shown(data)} has half of a surrogate pair: pass text that can be encoded") from None
    check_line(line)
    return line


def _prompt(prompt: str) -> str:
    if not isinstance(prompt, str):
        raise _no_text("prompt", prompt, "the name of one sound file as a str")
    if not prompt:
        raise InvalidValue("an empty prompt: give the name of a sound file")
    if _PROMPT_CONTROL.search(prompt):
        raise InvalidValue(f"prompt {_shown(prompt)} has control characters: give the plain name of a sound file")
    if prompt != prompt.strip(" "):
        raise InvalidValue(f"prompt {_shown(prompt)} has a blank at an end, which Asterisk does not keep: take it off")
    return prompt


def _value(name: str, value: str) -> str:
    # Not only mypy's business: a number or None reaches this place from call.set(COUNT=3).
    if not isinstance(value, str):
        raise _no_text(f"value of {name}", value)
    for mark, called in ((",", "comma"), ("\r", "CR"), ("\n", "LF"), ("\0", "NUL")):
        if mark in value:
            raise InvalidValue(
                f"value {_shown(value)} of {name} has a {called}, which cannot be said to Asterisk: replace it first"
            )
    # At the end of the line Asterisk would take these off, in the middle it would keep them: make it one rule.
    return value.rstrip(_BLANKS)


def _milliseconds(what: str, value: object) -> str:
    if value is None:
        return ""
    if type(value) is not int or not 1 <= value <= _LONGEST_MS:
        raise InvalidValue(f"{what} {value!r}: give whole milliseconds from 1 to {_LONGEST_MS}, or leave it out")
    return str(value)


def _free_text(text: object) -> str:
    room = MAX_LINE - len("L,\n")
    plain = _CONTROL.sub(" ", as_text(text)).encode("utf-8", "replace")[:room]
    return plain.decode("utf-8", "ignore").rstrip(_BLANKS) or _FILLER


def _no_text(what: str, value: object, instead: str = "a str") -> InvalidValue:
    # The value is not shown: it may be anything, and of any size.
    return InvalidValue(f"{what} is of type {type(value).__name__}: pass {instead}")


def _shown(value: str) -> str:
    # A name of a megabyte must not make an error of a megabyte.
    return repr(value) if len(value) <= 60 else f"{value[:60]!r}…"
