"""What `ivr.dial` was given, made into an app: a function, its name or that of a configured app, and settings.

The rule that holds here: what makes no sense is one line that names it, before anything is dialled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from ivrd.config import App, Config
from ivrd.errors import IvrdError
from ivrd.phone.imports import Imports
from ivrd.worker.handler import Handler
from ivrd.worker.loader import load

__all__ = ["Found", "find_app"]


class Found(NamedTuple):
    """An app.

    Attributes:
        name: what to call it.
        settled: its configuration.
        handler: its function.
        lifespan: what makes its lifespan; None where it has none.
    """

    name: str
    settled: App
    handler: Handler
    lifespan: Callable[[], AbstractAsyncContextManager[object]] | None


def find_app(
    app: str | Handler,
    settings: Mapping[str, Any],
    backend: Literal["asyncio", "trio"],
    config: Callable[[], Config] | None,
    imports: Imports,
) -> Found:
    """Find an app.

    Args:
        app: `module:function`, the function itself, or the name of a configured app.
        settings: keys of the app's table in ivrd.toml.
        backend: the loop of one that is not configured.
        config: where configured ones are; None where there is no configuration.
        imports: whose modules are there.

    Raises:
        AppLoadError: there is no such function.
        IvrdError: there is no such app, or a setting makes no sense.
    """
    name = app if isinstance(app, str) else getattr(app, "__qualname__", "app")
    if not isinstance(app, str) or ":" in app:
        base: dict[str, Any] = {"handler": app if isinstance(app, str) else f"app:{name}", "backend": backend}
    else:
        base = _configured(app, config)
    try:
        settled = msgspec.convert({**base, **settings}, App)
    except msgspec.ValidationError as error:
        raise IvrdError(f"settings of {name}: {error}; the keys are those of [apps.{name}] in ivrd.toml") from None
    unknown = settings.keys() - set(App.__struct_fields__)
    if unknown:
        raise IvrdError(f"settings of {name}: {min(unknown)!r} is no key of an app's table in ivrd.toml")
    if isinstance(app, str):
        imports.turn_to(settled.path)
        handler, lifespan = load(settled)
        return Found(name, settled, handler, lifespan if settled.lifespan else None)
    if settled.lifespan:
        raise IvrdError(f"settings of {name}: a lifespan needs the app as 'module:function', not as a function")
    return Found(name, settled, app, None)


def _configured(name: str, known: Callable[[], Config] | None) -> dict[str, Any]:
    if known is None:
        raise IvrdError(
            f"{name!r} is not 'module:function', and pytest knows no configuration to look it up in: "
            f"set ivrd_config = FILE among pytest's options"
        )
    config = known()
    if name not in config.apps:
        raise IvrdError(f"{Path(config.source).name} has no app {name!r}: it has {', '.join(config.apps)}")
    return msgspec.structs.asdict(config.apps[name])
