"""What kind of function a handler is: one that is awaited on the loop, or one that blocks a thread of its own.

The rule that holds here: a handler that was called and not run is an error, never a call that went well. Python lets a
coroutine that nobody awaits pass with a warning, and the caller would go on in the dialplan as if all were said.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from typing import Any, Final

__all__ = ["begin", "is_async", "never_runs", "require_run"]

_DEEPEST: Final = 100  # decorators on one function


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling this gives something to await.

    That is so for an `async def`, an object whose `__call__` is one, a `functools.partial` of either, and a plain
    function that wraps one and says so (`functools.wraps`), as a decorator does that only passes the call on.
    """
    try:
        return _is_async(function)
    except TypeError:  # not hashable
        return _is_async.__wrapped__(function)


@lru_cache(maxsize=64)  # asked for each call, and slow to find out
def _is_async(function: Callable[..., Any]) -> bool:
    return any(map(inspect.iscoroutinefunction, _layers(function)))


def never_runs(function: Callable[..., Any]) -> bool:
    """Whether calling this gives a generator, which runs nothing of it: a function with a `yield`."""
    while isinstance(function, functools.partial):
        function = function.func
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, type(function).__call__)
    )


def begin(function: Callable[..., Any], call: object) -> Awaitable[object]:
    """Call a handler that `is_async`.

    Returns:
        What is to be awaited.

    Raises:
        TypeError: it gave nothing to await.
    """
    result = function(call)
    if not inspect.isawaitable(result):
        raise TypeError(
            f"handler {_name(function)} wraps an `async def` and gave back {_article(result)}, not what is to be "
            f"awaited: return what the wrapped function returns, or make the wrapper an `async def` that awaits it"
        )
    return result


def require_run(function: Callable[..., Any], result: object) -> None:
    """See that a handler on a thread is over, now that it has returned.

    Raises:
        TypeError: it gave back what is yet to be run, and now never will.
    """
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        mend = "make it an `async def`, or let its decorator say what it wraps (functools.wraps)"
    elif inspect.isgenerator(result) or inspect.isasyncgen(result):
        mend = "a handler has no `yield`"
    else:
        return
    raise TypeError(f"handler {_name(function)} gave back {_article(result)}, nothing of which was run: {mend}")


def _layers(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Give a function and all that it stands for, from the outside to the inside."""
    for _ in range(_DEEPEST):
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif callable(wrapped := getattr(function, "__wrapped__", None)):
            function = wrapped
        elif inspect.isroutine(function) or inspect.isclass(function):
            return
        else:
            function = type(function).__call__


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def _article(result: object) -> str:
    name = type(result).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
