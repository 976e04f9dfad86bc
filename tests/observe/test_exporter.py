"""The exporter over real TCP: its answers, what hostile clients get, and that no client keeps the others out."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ivrd.errors import ServeError
from ivrd.observe import exporter
from ivrd.observe.exporter import MAX_CONNECTIONS, MAX_HEAD, Health
from ivrd.observe.metrics import AppFigures, Metrics, Snapshot

PATIENCE = 30  # seconds; for what should be at once


def bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    return sock


def figures() -> Metrics:
    metrics = Metrics(lambda: Snapshot(apps={"menu": AppFigures(queue=4)}))
    metrics.set_apps(["menu"])
    return metrics


class Client:
    """One TCP connection; it counts bytes by itself, since h11 on both sides would hide its own mistakes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._data = b""

    async def get(
        self, path: str = "/healthz", *headers: str, method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {path} HTTP/1.1", "Host: ivrd", *headers, "", ""]
        return await self.ask("\r\n".join(lines).encode(), body=method != "HEAD")

    async def ask(self, request: bytes, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        await self.stream.send_all(request)
        return await self.answer(body=body)

    async def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in self._data:
                await self._more()
            head, _, self._data = self._data.partition(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers["content-length"]) if body else 0
            while len(self._data) < length:
                await self._more()
        text, self._data = self._data[:length], self._data[length:]
        return int(status.split()[1]), headers, text

    async def _more(self) -> None:
        data = await self.stream.receive_some(65_536)
        assert data, f"closed after {self._data!r}"
        self._data += data

    async def closed(self) -> bytes:
        """Wait for the end, which a reset is not; returns what came before it."""
        with trio.fail_after(PATIENCE):
            while data := await self.stream.receive_some(65_536):
                self._data += data
        return self._data


class Rig:
    """A running exporter."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with await trio.open_tcp_stream(*self.address) as stream:
            yield Client(stream)


@asynccontextmanager
async def running(metrics: Metrics | None = None, health: Callable[[], Health] = Health) -> AsyncIterator[Rig]:
    sock = bound()
    address = sock.getsockname()
    async with trio.open_nursery() as nursery:
        await nursery.start(exporter.serve, [sock], metrics or figures(), health)
        yield Rig(address)
        nursery.cancel_scope.cancel()


async def test_metrics_in_both_formats() -> None:
    async with running() as rig, rig.client() as client:
        status, headers, body = await client.get("/metrics")
        assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert b'\nivrd_queue_depth{app="menu"} 4.0\n' in body
        status, headers, body = await client.get("/metrics?x=1", "Accept: application/openmetrics-text; version=1.0.0")
        assert (status, headers["content-type"].split(";")[0]) == (200, "application/openmetrics-text")
        assert body.endswith(b"# EOF\n")
        assert body.count(b"# EOF") == 1


async def test_figures_are_those_of_the_scrape() -> None:
    metrics = figures()
    async with running(metrics) as rig, rig.client() as client:
        for count in range(4):
            _, _, body = await client.get("/metrics")
            line = f'ivrd_calls_total{{app="menu",result="hangup",transport="pipe"}} {count}.0\n'
            assert line.encode() in body
            metrics.call_ended("menu", "pipe", "hangup", 1.0)


async def test_alive() -> None:
    async with running(health=lambda: Health(problem="draining")) as rig, rig.client() as client:
        status, headers, body = await client.get("/healthz")
        assert (status, headers["cache-control"], body) == (200, "no-store", b"ok\n")


@pytest.mark.parametrize(
    ("health", "status", "body"),
    [
        (Health(apps={"menu": "", "survey": ""}), 200, "menu: ready\nsurvey: ready\n"),
        (
            Health(apps={"menu": "", "survey": "no worker is ready:\nImportError: \udcff"}),
            503,
            "menu: ready\nsurvey: no worker is ready: ImportError: ?\n",
        ),
        (Health(apps={"menu": ""}, problem="draining"), 503, "draining\nmenu: ready\n"),
        (Health(), 200, "ready\n"),
        (Health(problem="x" * 9999), 503, "x" * 500 + "\n"),
    ],
)
async def test_ready(health: Health, status: int, body: str) -> None:
    async with running(health=lambda: health) as rig, rig.client() as client:
        got, _, text = await client.get("/readyz")
        assert (got, text.decode()) == (status, body)


async def test_the_index_leads_to_the_rest() -> None:
    async with running() as rig, rig.client() as client:
        status, headers, body = await client.get("/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert all(path in body for path in (b'"/metrics"', b'"/healthz"', b'"/readyz"'))


async def test_head_has_the_length_and_no_body() -> None:
    async with running() as rig, rig.client() as client:
        _, _, body = await client.get("/readyz")
        status, headers, nothing = await client.get("/readyz", method="HEAD")
        assert (status, headers["content-length"], nothing) == (200, str(len(body)), b"")
        assert (await client.get())[0] == 200  # nothing was left on the connection


async def test_what_is_not_there() -> None:
    async with running() as rig, rig.client() as client:
        for path in ("/metrics/", "/etc/passwd", "/../metrics", "//", "*", "http://ivrd/metrics"):
            assert (await client.get(path))[0] == 404
        status, headers, _ = await client.get("/metrics", method="DELETE")
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert (await client.get())[0] == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running() as rig, rig.client() as client:
        one = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        assert (await client.ask(one + one.replace(b"/healthz", b"/none")))[0] == 200
        assert (await client.answer())[0] == 404


async def test_a_body_is_not_read_and_the_answer_arrives() -> None:
    async with running() as rig, rig.client() as client:
        head = b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        assert (await client.ask(head + bytes(100_000)))[0] == 405
        assert await client.closed() == b""


async def test_an_old_or_polite_client_is_let_go() -> None:
    async with running() as rig:
        for request in (
            b"GET /healthz HTTP/1.0\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ):
            async with rig.client() as client:
                assert (await client.ask(request))[0] == 200
                await client.stream.send_eof()
                assert await client.closed() == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"a" * MAX_HEAD * 2 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * MAX_HEAD, 431),
        (b"GET / HTTP/1.1\nHost: a\r\nX:\0\r\n\r\n", 400),
    ],
)
async def test_hostile_requests_are_told_so(request_: bytes, status: int) -> None:
    async with running() as rig:
        async with rig.client() as client:
            got, headers, _ = await client.ask(request_)
            assert (got, headers["connection"]) == (status, "close")
            await client.stream.send_eof()
            assert await client.closed() == b""
        async with rig.client() as client:
            assert (await client.get())[0] == 200


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"GET ", b"/metrics ", b"HTTP/1.1", b"\r\n", b"Accept:"])))
def test_any_bytes_leave_it_serving(parts: list[bytes]) -> None:
    async def main() -> None:
        async with running() as rig:
            async with rig.client() as client:
                await client.stream.send_all(b"".join(parts) or b"\r\n")
                await client.stream.send_eof()
                await client.closed()
            async with rig.client() as client:
                assert (await client.get())[0] == 200

    trio.run(main)


async def test_a_client_that_leaves_at_any_byte_is_no_matter() -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    async with running() as rig:
        for cut in range(len(request) + 1):
            async with rig.client() as client:
                await client.stream.send_all(request[:cut])
                if cut % 2:  # a reset
                    linger = b"\1\0\0\0\0\0\0\0"
                    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        async with rig.client() as client:
            assert (await client.get())[0] == 200


async def test_a_fault_of_ours_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Snapshot:
        raise ZeroDivisionError("books")

    def unwell() -> Health:
        raise ZeroDivisionError("health")

    async with running(Metrics(broken), unwell) as rig, rig.client() as client:
        assert (await client.get("/metrics"))[0] == 500
        assert (await client.get("/readyz"))[0] == 500
        assert (await client.get("/healthz"))[0] == 200
    assert "ZeroDivisionError: books" in "".join(capsys.readouterr())


async def test_who_waited_longest_makes_room_for_the_newcomer() -> None:
    async with running() as rig, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(rig.client()) for _ in range(MAX_CONNECTIONS)]
        for client in clients:
            assert (await client.get())[0] == 200
        assert (await clients[0].get())[0] == 200  # so that the second has waited longest
        # All at once, so that the exporter takes each in before the last one's victim has gone.
        sockets = [socket.create_connection(rig.address) for _ in range(10)]
        newcomers = [Client(trio.SocketStream(trio.socket.from_stdlib_socket(sock))) for sock in sockets]
        for client in newcomers:
            await stack.enter_async_context(client.stream)
            assert (await client.get())[0] == 200
        for client in clients[1:11]:
            assert await client.closed() == b""
        for client in (clients[0], *clients[11:], *newcomers):
            assert (await client.get())[0] == 200


# Time is virtual below: the clock is moved by hand, for it would jump while bytes are on their way through the kernel.


async def settle(clock: MockClock, seconds: float) -> None:
    """Let that many seconds go by, in small steps with real loopback traffic in between."""
    for _ in range(round(seconds / 0.5)):
        await trio.testing.wait_all_tasks_blocked(0)
        clock.jump(0.5)


async def test_a_slow_request_is_dropped_after_ten_seconds(mock_clock: MockClock) -> None:
    async with running() as rig, rig.client() as client:
        for byte in b"GET /he":
            await client.stream.send_all(bytes([byte]))
            await settle(mock_clock, 1)
        ended = trio.Event()
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert await client.stream.receive_some() == b""
                ended.set()

            nursery.start_soon(wait)
            await settle(mock_clock, 2)
            assert not ended.is_set()
            await settle(mock_clock, 1.5)
            await ended.wait()


async def test_a_kept_connection_may_rest_between_scrapes(mock_clock: MockClock) -> None:
    async with running() as rig, rig.client() as client:
        for _ in range(3):
            await client.stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200" in await client.stream.receive_some()
            await settle(mock_clock, 60)
        await client.stream.send_all(b"G")  # from here on it is a request, and has ten seconds
        await settle(mock_clock, 11)
        assert await client.stream.receive_some() == b""


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (("192.0.2.1", 9949), 'metrics = "192.0.2.1:9949" cannot be served: this machine has no such address'),
        (("no-such-host.invalid", 9949), "the host is not known"),
    ],
)
async def test_an_address_that_cannot_be_had(where: tuple[str, int], says: str) -> None:
    with pytest.raises(ServeError, match=r"^[^\n]+$") as caught:
        await exporter.serve(where, figures(), Health)
    assert says in str(caught.value)


async def test_an_address_in_use() -> None:
    with bound() as taken:
        host, port = taken.getsockname()
        with pytest.raises(ServeError, match=f'metrics = "127.0.0.1:{port}" .* is in use; stop what serves it'):
            await exporter.serve((host, port), figures(), Health)


async def test_a_passed_socket_that_does_not_listen() -> None:
    with socket.socket() as sock, pytest.raises(ServeError, match="pass a listening TCP one"):
        await exporter.serve([sock], figures(), Health)


async def test_serves_at_a_configured_address() -> None:
    with bound() as sock:
        host, port = sock.getsockname()
    async with trio.open_nursery() as nursery:
        await nursery.start(exporter.serve, (host, port), figures(), Health)
        async with Rig((host, port)).client() as client:
            assert (await client.get())[0] == 200
        nursery.cancel_scope.cancel()
