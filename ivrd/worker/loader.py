"""Finding an app's functions: importing its module and seeing that they are what a worker can call.

The rule that holds here: whatever an app's module does when it is imported, `sys.exit()` included, the result is a
function or an `AppLoadError` that says in one line what to mend.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeAlias

from ivrd.config import App
from ivrd.errors import AppLoadError
from ivrd.worker.handler import Handler
from ivrd.worker.kinds import never_runs

__all__ = ["Lifespan", "load"]

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]


def load(app: App) -> tuple[Handler, Lifespan]:
    """Import an app.

    Args:
        app: its configuration; `path` is put first on `sys.path`.

    Returns:
        Its handler, and what makes its lifespan (one that does nothing if it has none).

    Raises:
        AppLoadError: a function cannot be had, or cannot be called as it will be; the cause is attached.
    """
    if app.path:
        sys.path.insert(0, app.path)
    handler = _function("handler", app.handler, "one argument, the call", None)
    if never_runs(handler):
        raise AppLoadError(
            f"handler {app.handler!r} has a `yield`, so that calling it runs nothing of it: let it await or return, "
            f"and move what yields into a function of its own"
        )
    lifespan = _function("lifespan", app.lifespan, "no argument") if app.lifespan else nullcontext
    return handler, lifespan


def _function(key: str, name: str, takes: str, *args: object) -> Any:
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise AppLoadError(f"{key} {name!r}: write module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except BaseException as error:
        hint = "see that the app's path and the installed packages are right"
        if not isinstance(error, ImportError):
            hint = "mend the module; an import must not end its process" if isinstance(error, SystemExit) else "mend it"
        raise AppLoadError(f"{key} {name!r}: importing {module_name} raised {_in_a_line(error)}; {hint}") from error
    holder = module_name
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AppLoadError(f"{key} {name!r}: {holder} has no {part!r}; check the function's name") from None
        except Exception as error:
            raise AppLoadError(f"{key} {name!r}: getting {part!r} of {holder} raised {_in_a_line(error)}") from error
        holder = f"{holder}.{part}"
    if not callable(found):
        raise AppLoadError(f"{key} {name!r} is of type {type(found).__name__}: name a function")
    try:
        inspect.signature(found).bind(*args)
    except TypeError:
        raise AppLoadError(f"{key} {name!r} cannot be called with {takes}: change its parameters") from None
    except ValueError:
        pass  # some callables do not tell what they take
    return found


def _in_a_line(error: BaseException) -> str:
    # The whole of it is in the cause; a message of many lines would look like many errors.
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
