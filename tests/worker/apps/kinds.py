"""Handlers of every kind that Python can call, each setting RAN when it is run."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ivrd import Call, SyncCall


def says_so(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def says_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def forgets(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> None:
        function(*args).close()

    return wrapper


async def main(call: Call) -> None:
    await call.set(RAN="yes")


def plain(call: SyncCall) -> None:
    call.set(RAN="yes")


async def two(ran: str, call: Call) -> None:
    await call.set(RAN=ran)


class Menu:
    __hash__ = None  # type: ignore[assignment]  # as a dataclass has it

    def __eq__(self, other: object) -> bool:
        return self is other

    async def __call__(self, call: Call) -> None:
        await call.set(RAN="yes")

    @says_so
    async def method(self, call: Call) -> None:
        await call.set(RAN="yes")


async def async_generator(call: Call) -> AsyncIterator[None]:
    await call.set(RAN="yes")
    yield


def generator(call: SyncCall) -> Iterator[None]:
    call.set(RAN="yes")
    yield


wrapped = says_so(says_so(main))
wrapped_plain = says_so(plain)
partial = functools.partial(two, "yes")
partial_of_wrapped = functools.partial(says_so(two), "yes")
wrapped_partial = says_so(partial)
menu = Menu()
method = menu.method
partial_of_object = functools.partial(menu)

hidden = says_nothing(main)
hidden_generator = says_nothing(generator)
hidden_async_generator = says_so(async_generator)
forgetful = forgets(main)
partial_generator = functools.partial(async_generator)
