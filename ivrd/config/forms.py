"""The forms of text that keys may hold: handlers, memory sizes, addresses, names, paths.

The rule that holds here: each function takes the text and returns what it means, or raises ValueError with what to give
instead ("give ..."); where it stood (file and key) is added by who called.
"""

from __future__ import annotations

import keyword
import os
import re

__all__ = [
    "app_name",
    "directory",
    "function_name",
    "memory_bytes",
    "metrics_address",
    "module_function",
    "one_line",
    "socket_path",
    "user",
]

# An app's name is a metric's label, a word of the dialplan (so no comma, blank or bracket) and an argument of the shim
# (so no dash in front, which would make it an option).
_APP_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}")
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")
_UNITS = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4} | {
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_MEMORY = re.compile(rf"([0-9]{{1,12}}(?:\.[0-9]{{1,6}})?) ?({'|'.join(_UNITS)})")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([A-Za-z0-9_.-]+)):([0-9]{1,5})", re.ASCII)
_LEAST_MEMORY = 16 * 1024**2  # a worker holding no call has more than this: it would be replaced for ever
_MOST_MEMORY = 1024**5
_SUN_PATH = 107  # bytes that fit into sockaddr_un.sun_path with its final NUL
_MOST_UID = 2**32 - 2  # the last number is "no user" to the kernel


def one_line(value: object, limit: int = 60) -> str:
    """A value as it may stand in a message: printable, on one line, cut at `limit` characters."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        text = f"[{', '.join(one_line(item) for item in value[:8])}{', ...' if len(value) > 8 else ''}]"
    elif isinstance(value, int) and value.bit_length() > 256:
        return "a number of more than 77 digits"  # Python refuses to print one of more than 4,300
    else:
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def app_name(text: str) -> str:
    """An app's name: 1 to 64 letters, digits, `_`, `.`, `-`, no dash in front."""
    if not _APP_NAME.fullmatch(text):
        raise ValueError(
            "give an app name of 1 to 64 ASCII letters, digits, '_', '.' and '-', that does not begin with '-'"
        )
    return text


def module_function(text: str) -> tuple[str, str]:
    """Split `module:function`, both of them dotted names, into the two."""
    module, colon, function = text.partition(":")
    names = [*module.split("."), *function.split(".")]
    if not colon or not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        raise ValueError("give it as 'module:function', both of them dotted Python names, such as 'menu:main'")
    return module, function


def memory_bytes(text: str) -> int:
    """A size such as `512 MiB` or `1.5 GB` in bytes; 0 for the empty text."""
    if not text:
        return 0
    if not (match := _MEMORY.fullmatch(text)):
        raise ValueError(f"give a number and one of {', '.join(_UNITS)}, such as '512 MiB', or '' for off")
    number, unit = match.groups()
    size = round(float(number) * _UNITS[unit])
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise ValueError("give 16 MiB to 1024 TiB (a worker that holds no call takes more than 16 MiB), or '' for off")
    return size


def metrics_address(text: str) -> tuple[str, int] | None:
    """`HOST:PORT` or `[IPV6]:PORT` as host and port; None for the empty text."""
    if not text:
        return None
    match = _ADDRESS.fullmatch(text)
    if not match or int(match[3]) > 65535:
        raise ValueError(
            "give HOST:PORT with a port of 0 to 65535, such as '127.0.0.1:9949' or '[::1]:9949', or '' for off"
        )
    return match[1] or match[2], int(match[3])


def function_name(text: str) -> str:
    """The bare name of a dialplan function, as in `CALLERID` of `CALLERID(num)`."""
    if not _FUNCTION_NAME.fullmatch(text):
        raise ValueError("give names of dialplan functions without brackets, such as 'CALLERID'")
    return text


def user(value: str | int) -> str | int:
    """A user's name or number."""
    if isinstance(value, int):
        if not 0 <= value <= _MOST_UID:
            raise ValueError(f"give user names, or numbers from 0 to {_MOST_UID}")
    elif not value or not value.isprintable() or set(value) & set(": /,"):
        raise ValueError("give user names such as 'asterisk', or numbers")
    return value


def socket_path(text: str, base: str) -> str:
    """The path of a Unix socket, absolute; a relative one counts from `base`."""
    path = os.path.normpath(os.path.join(base, text))
    if not text or "\0" in text or text.endswith("/"):
        raise ValueError("give the path of a Unix socket, such as '/run/ivrd/ivrd.sock'")
    if len(os.fsencode(path)) > _SUN_PATH:
        raise ValueError(f"give a path of at most {_SUN_PATH} bytes: more does not fit into a Unix socket's address")
    return path


def directory(text: str, base: str) -> str:
    """A directory that exists, absolute; a relative one counts from `base`; the empty text stays empty."""
    if not text:
        return ""
    path = os.path.normpath(os.path.join(base, text))
    if not os.path.isdir(path):
        what = "is not a directory" if os.path.exists(path) else "does not exist, or may not be looked at"
        raise ValueError(f"{one_line(path, 200)} {what}; give the directory that holds the handler's module")
    return path
