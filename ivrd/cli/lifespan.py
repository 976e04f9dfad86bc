"""An app's lifespan around a call of `ivrd dial`, as a worker has it around its life.

The rule that holds here: what an app's own function raises is one line that names it and the place, on the way in
and on the way out.
"""

from __future__ import annotations

import os
import traceback
from contextlib import AsyncExitStack

from ivrd.config import App
from ivrd.errors import AppLoadError
from ivrd.worker.loader import Lifespan

__all__ = ["enter", "leave"]


async def enter(stack: AsyncExitStack, app: App, lifespan: Lifespan) -> None:
    """Enter a lifespan.

    Args:
        stack: what leaves it.
        app: the app's configuration.
        lifespan: what makes it.

    Raises:
        AppLoadError: it raised, or is no async context manager.
    """
    try:
        manager = lifespan()
        if not hasattr(type(manager), "__aenter__"):
            raise AppLoadError(
                f"lifespan {app.lifespan!r} gives no async context manager: decorate an async generator of one `yield` "
                f"with contextlib.asynccontextmanager"
            )
        await stack.enter_async_context(manager)
    except AppLoadError:
        raise
    except Exception as error:
        raise AppLoadError(_told(app, error)) from error


async def leave(stack: AsyncExitStack, app: App) -> str:
    """Leave what was entered.

    Returns:
        What it raised, in a line; "" when it did not.
    """
    try:
        await stack.aclose()
    except Exception as error:
        return _told(app, error)
    return ""


def _told(app: App, error: Exception) -> str:
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"lifespan {app.lifespan!r} raised {text} at {os.path.basename(last.filename)}:{last.lineno}"
