"""From a TOML file to a checked `Config`, or to the whole list of what is wrong with it.

The rule that holds here: nothing but `ConfigError` comes out of bad input, and it holds *every* problem, one line each:
the file, the key, what is wrong, what to do; unknown keys come first, since a misspelt key explains the others.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from ivrd.errors import ConfigError

from . import forms
from .document import expected
from .forms import one_line
from .keys import App, Config, Server

__all__ = ["MAX_BYTES", "InvalidConfig", "app_for_function", "config_for_function", "control_socket", "load", "parse"]

MAX_BYTES = 1024 * 1024  # of a configuration file; what is larger is some other file
_TOO_LARGE = f"larger than {MAX_BYTES} bytes; give the path of ivrd's TOML file"

_Table = TypeVar("_Table", Server, App)

_SECTIONS = ("server", "apps")
_CONTROL = re.compile(r"""^[ \t]*control_socket[ \t]*=[ \t]*(["'])(.+?)\1""", re.MULTILINE)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")

# Keys of features that are designed and not built: known, so that the message need not guess.
_LATER = {
    (
        "listen",
    ): "listening for ivr:// calls is not supported yet; take [[listen]] out and let the dialplan call ivrd-shim",
    ("apps", "script"): "running a script is not supported yet; give handler = 'module:function' instead",
    ("apps", "command"): "running a command is not supported yet; give handler = 'module:function' instead",
}

# What the type alone cannot check. Paths are replaced by what these return; the rest stays as it was written.
_PATHS: dict[str, Callable[[str, str], str]] = {
    "socket": forms.socket_path,
    "worker_socket": forms.socket_path,
    "control_socket": forms.socket_path,
    "path": forms.directory,
}
_TEXTS: dict[str, Callable[[str], object]] = {
    "metrics": forms.metrics_address,
    "handler": forms.module_function,
    "lifespan": forms.module_function,
    "max_memory": forms.memory_bytes,
}
_ITEMS: dict[str, Callable[[Any], object]] = {"allow_users": forms.user, "allow_functions": forms.function_name}


class InvalidConfig(ConfigError):
    """A configuration with one problem or more; its text is one line each.

    Attributes:
        problems: the lines: file, key, what is wrong, what to do.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def load(path: str | os.PathLike[str]) -> Config:
    """Read and check a configuration file.

    Raises:
        InvalidConfig: the file cannot be read, or what it says cannot be used; all problems at once.
    """
    source = os.fspath(path)
    return parse(_read(source), source)


def control_socket(path: str | os.PathLike[str]) -> str:
    """Find out where the daemon of a configuration hears operators, also where the file was broken since it was read.

    Raises:
        InvalidConfig: the file cannot be read.
    """
    source = os.fspath(path)
    text = _read(source)
    try:
        return parse(text, source).server.control_socket
    except InvalidConfig:
        # What is wrong with it is for the daemon to say, at a reload; the one that runs can be asked all the same.
        if (named := _CONTROL.search(text)) is None:
            return Server().control_socket
        return os.path.join(os.path.dirname(os.path.abspath(source)), named[2])


def parse(text: str, source: str = "configuration") -> Config:
    """Check a configuration given as TOML.

    Args:
        text: the TOML.
        source: where it came from: opens each message; relative paths count from its directory.

    Raises:
        InvalidConfig: it cannot be used; all problems at once.
    """
    where = _shown(source)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidConfig([f"{where}: not UTF-8 text; save the file as UTF-8"]) from None
    if size > MAX_BYTES:
        raise InvalidConfig([f"{where}: {_TOO_LARGE}"])
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise InvalidConfig([f"{where}: arrays or tables nested too deeply; ivrd needs two levels"]) from None
    except tomllib.TOMLDecodeError as error:
        place, what = _syntax(str(error))
        raise InvalidConfig([f"{where}: {place}{what}; mend the TOML there"]) from None
    except ValueError:  # Python converts no number of more than 4,300 digits
        raise InvalidConfig([f"{where}: a number of thousands of digits; give one that a key can take"]) from None
    return _Check(where, os.path.dirname(os.path.abspath(source))).config(document)


def config_for_function(target: str, **over: object) -> Config:
    """Make a configuration of one app from just `module:function`; the app is named after the module.

    Args:
        target: the handler; its module is looked for in the current directory first.
        over: keys of the app that differ from the defaults.

    Raises:
        InvalidConfig: `target` or a key cannot be used.
    """
    name = re.sub(r"[^A-Za-z0-9_.]", "_", target.partition(":")[0])[:64] or "app"
    table = {"path": os.getcwd(), **over, "handler": target}
    return _Check("command line", os.getcwd()).config({"apps": {name: table}})


def app_for_function(target: str, **over: object) -> App:
    """Make an app from just `module:function`; arguments and errors as with `config_for_function`."""
    (app,) = config_for_function(target, **over).apps.values()
    return app


def _read(source: str) -> str:
    """The text of a file, by way of one open descriptor, so that what was checked is what is read."""
    try:
        with open(source, "rb", opener=_open) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_BYTES + 1) if regular else b""
    except FileNotFoundError:
        problem = "there is no such file; write one, or name it with --config FILE"
    except IsADirectoryError:
        problem = "is a directory; give the path of ivrd's TOML file"
    except PermissionError:
        problem = (
            f"user {os.geteuid()} may not read it; give that user the right to read the file and enter its directory"
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = (
            f"cannot be read ({getattr(error, 'strerror', None) or error}); name a readable file with --config FILE"
        )
    else:
        if not regular:
            problem = "is no regular file; give the path of ivrd's TOML file"
        elif len(content) > MAX_BYTES:
            problem = _TOO_LARGE
        else:
            try:
                return content.decode("utf-8-sig")  # some editors put a byte-order mark in front
            except UnicodeDecodeError as error:
                line = content.count(b"\n", 0, error.start) + 1
                problem = f"line {line}: not UTF-8 text; save the file as UTF-8"
    raise InvalidConfig([f"{_shown(source)}: {problem}"])


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # or opening a FIFO would wait for a writer


def _shown(source: str) -> str:
    return source if source and source.isprintable() else one_line(source, 200)


def _syntax(message: str) -> tuple[str, str]:
    """Split tomllib's message into the place, as `line 3, column 5: `, and what is wrong there."""
    message = message if message.isprintable() else one_line(message, 200)
    if match := re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", message):
        return f"{match[2]}: ", match[1]
    return "", message


class _Check:
    """One pass over a document, collecting its problems."""

    def __init__(self, source: str, base: str) -> None:
        self._source = source
        self._base = base
        self._unknown: list[str] = []
        self._wrong: list[str] = []
        self._given: list[tuple[str, ...]] = []

    def config(self, document: dict[str, Any]) -> Config:
        """Check it all; the configuration, or InvalidConfig with every problem."""
        for key in document:
            if (key,) in _LATER:
                self._problem((key,), _LATER[key,])
            elif key not in _SECTIONS:
                self._unknown_key((key,), _SECTIONS, "give [server] and [apps.NAME] tables")
        server = self._table(("server",), document.get("server", {}), Server)
        apps = {name: self._table(("apps", name), table, App) for name, table in self._apps(document).items()}
        if self._unknown or self._wrong:
            raise InvalidConfig(self._unknown + self._wrong)
        return Config(
            server=Server(**server),
            apps={name: App(**values) for name, values in apps.items()},
            source=self._source,
            given=tuple(self._given),
        )

    def _apps(self, document: dict[str, Any]) -> dict[str, Any]:
        apps = document.get("apps", {})
        if not isinstance(apps, dict):
            self._problem(("apps",), f"{one_line(apps)} is no table; give one [apps.NAME] table for each app")
            return {}
        if not apps:
            what = "no app is configured" if document else "the configuration is empty"
            self._problem((), f"{what}; add a table such as [apps.menu] with handler = 'menu:main'")
        for name in apps:
            self._try(("apps", name), name, forms.app_name)
        return apps

    def _table(self, path: tuple[str, ...], table: object, struct: type[_Table]) -> dict[str, Any]:
        """The values of one table that are in order; a problem for each that is not."""
        if not isinstance(table, dict):
            self._problem(path, f"{one_line(table)} is no table; give its keys in [{_key(path)}]")
            return {}
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        values: dict[str, Any] = {}
        later = False
        for key, value in table.items():
            if (path[0], key) in _LATER:
                later = True
                self._problem((*path, key), _LATER[path[0], key])
            elif key not in fields:
                self._unknown_key((*path, key), tuple(fields), f"the keys here are {', '.join(fields)}")
            else:
                self._given.append((*path, key))
                self._value((*path, key), value, fields[key], values)
        for key, field in fields.items():
            if field.required and key not in table and not later:
                self._problem((*path, key), f"missing; give {key} = 'module:function'")
        (self._server if struct is Server else self._pool)(path, table, values)
        return values

    def _value(
        self, path: tuple[str, ...], value: object, field: msgspec.structs.FieldInfo, values: dict[str, Any]
    ) -> None:
        """Check one value by its type, then by its form, and enter it into `values`."""
        try:
            good = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            takes = expected(msgspec.inspect.type_info(field.type))
            self._problem(path, f"{one_line(value)} will not do; give {takes}")
            return
        name = field.name
        try:
            if name in _PATHS:
                good = _PATHS[name](good, self._base)
            elif name in _ITEMS:
                for item in good:
                    _ITEMS[name](item)
            elif name in _TEXTS and good != field.default:
                _TEXTS[name](good)
        except ValueError as error:
            self._problem(path, f"{one_line(value)} will not do; {error}")
            return
        values[name] = good

    def _server(self, path: tuple[str, ...], table: dict[str, Any], values: dict[str, Any]) -> None:
        """One path cannot serve shims, workers and control at once."""
        defaults, taken = Server(), dict[str, str]()
        for key in ("socket", "worker_socket", "control_socket"):
            socket = values.get(key, getattr(defaults, key))
            if socket in taken:
                self._problem(
                    (*path, key), f"{one_line(socket)} is the path of {taken[socket]}; give each socket its own"
                )
            taken.setdefault(socket, key)

    def _pool(self, path: tuple[str, ...], table: dict[str, Any], values: dict[str, Any]) -> None:
        """A pool is either fixed (`workers`) or elastic (`min_workers` and `max_workers`, perhaps `spare_slots`)."""
        ends = [key for key in ("min_workers", "max_workers") if key in table]
        if ends and "workers" in table:
            self._problem((*path, "workers"), f"goes against {ends[0]}; give workers, or min_workers and max_workers")
        if len(ends) == 1:
            (missing,) = {"min_workers", "max_workers"} - set(ends)
            self._problem((*path, missing), f"missing beside {ends[0]}; an elastic pool needs both")
        if not ends and values.get("spare_slots"):
            self._problem(
                (*path, "spare_slots"),
                "a pool of fixed size keeps none; give min_workers and max_workers, or take it out",
            )
        if "min_workers" in values and "max_workers" in values and values["min_workers"] > values["max_workers"]:
            low, high = values["min_workers"], values["max_workers"]
            self._problem((*path, "max_workers"), f"{high} is less than min_workers = {low}; give at least {low}")

    def _try(self, path: tuple[str, ...], value: str, form: Callable[[str], object]) -> None:
        try:
            form(value)
        except ValueError as error:
            self._problem(path, f"{one_line(value)} will not do; {error}")

    def _unknown_key(self, path: tuple[str, ...], known: tuple[str, ...], otherwise: str) -> None:
        key = path[-1].lower()
        elsewhere = {"server": App, "apps": Server}.get(path[0])
        if elsewhere is not None and key in elsewhere.__struct_fields__:
            what = f"it belongs into [{'server' if elsewhere is Server else 'apps.NAME'}]"
        elif near := difflib.get_close_matches(key, known, n=1, cutoff=0.6):
            what = f"did you mean {near[0]!r}?"
        else:
            what = otherwise
        self._unknown.append(f"{self._source}: {_key(path)}: unknown key; {what}")

    def _problem(self, path: tuple[str, ...], what: str) -> None:
        self._wrong.append(f"{self._source}: {_key(path)}: {what}" if path else f"{self._source}: {what}")


def _key(path: tuple[str, ...]) -> str:
    """A key as TOML has it, quoted where it must be."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else one_line(part) for part in path)
