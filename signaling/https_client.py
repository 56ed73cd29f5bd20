"""HTTPS requests of the server's own: HTTP/2 where the other side has it, bounded in time and size, never redirected.

On httpcore, the transport of httpx: its network backend is public, and that is where an address is checked and pinned.
Connections are kept, one pool for each origin; a request that hangs costs its pool, so that the next one starts afresh.
"""

from __future__ import annotations

import logging
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import httpcore
import trio

from triortc.errors import SignalingError
from triortc.signaling.dialing import DialingRefusedError, DialingRules, Target

__all__ = [
    "HttpsAnswer",
    "HttpsClient",
    "HttpsError",
    "HttpsFailure",
    "HttpsPort",
    "HttpsRequest",
    "open_https_client",
]

_logger: Final = logging.getLogger("triortc.https")
HttpsFailure = Literal["refused", "timeout", "unreachable", "garbage", "too_large"]
_MAX_POOLS: Final = 64
_CONNECTIONS_PER_ORIGIN: Final = 4
_KEEP_ALIVE_S: Final = 300.0
#: Certificates, headers and the like, for each request.
_OVERHEAD_BYTES: Final = 64 * 1024
#: What a connection that was closed while it idled looks like to the next request on it.
_STALE: Final = (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class HttpsRequest:
    """A POST. What gives access is left out of its `repr`, which may be logged."""

    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HttpsAnswer:
    """An answer whose body was read. Header names are lower case; of a repeated header the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class HttpsError(SignalingError):
    """There was no answer.

    Attributes:
        failure: `refused` by our own rules, `timeout`, `unreachable`, `garbage` for what is not HTTP, `too_large`.
    """

    def __init__(self, failure: HttpsFailure, message: str) -> None:
        super().__init__(message)
        self.failure: HttpsFailure = failure


class HttpsPort(Protocol):
    """What gateways and webhooks need; `HttpsClient` is it."""

    async def exchange(self, request: HttpsRequest, *, timeout_s: float) -> HttpsAnswer:
        """Send a request and read its answer.

        Raises:
            HttpsError: there was none.
        """


@dataclass(slots=True)
class _Allowance:
    """How many bytes one origin may still send us. An HTTP/2 frame alone may claim 16 MiB before a parser sees it."""

    left: int = 0

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise httpcore.ReadError("more came than answers may hold")


class _BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that breaks when it has delivered more than its origin was allowed."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, allowance: _Allowance) -> None:
        self._inner = inner
        self._allowance = allowance

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._inner.read(max_bytes, timeout)
        self._allowance.take(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _BoundedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._allowance)


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves, checks, and connects to the checked address: TLS still asks for the name."""

    def __init__(self, rules: DialingRules, allowance: _Allowance) -> None:
        self._rules = rules
        self._allowance = allowance
        self._inner = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._rules.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from None
        for address in addresses:
            try:
                stream = await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError:
                continue
            return _BoundedStream(stream, self._allowance)
        raise httpcore.ConnectError("none of the host's addresses takes connections")

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Body:
    """A request's body in one piece. Not a generator: a request that breaks off leaves nothing to be closed."""

    def __init__(self, data: bytes) -> None:
        self._pieces = [data]

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop()


@dataclass(slots=True, eq=False)
class _Origin:
    """The connections to one origin, how many requests are on them, and whether they are of use any longer."""

    pool: httpcore.AsyncConnectionPool
    allowance: _Allowance
    users: int = 0
    used: bool = False
    retired: bool = False


class HttpsClient:
    """Made by `open_https_client`.

    Args:
        rules: whom it may connect to.
        tls: the authorities that certificates are checked against.
        max_answer_bytes: of a body; a larger one is an error.
    """

    def __init__(self, rules: DialingRules, tls: ssl.SSLContext, max_answer_bytes: int) -> None:
        self._rules = rules
        self._tls = tls
        self._max_answer_bytes = max_answer_bytes
        self._origins: OrderedDict[str, _Origin] = OrderedDict()

    async def exchange(self, request: HttpsRequest, *, timeout_s: float) -> HttpsAnswer:
        """POST and read the answer; see `HttpsPort`."""
        try:
            target = self._rules.target(request.url)
            with trio.fail_after(timeout_s):
                return await self._exchange(target, request)
        except DialingRefusedError as error:
            raise HttpsError("refused", str(error)) from None
        except trio.TooSlowError:
            raise HttpsError("timeout", f"no answer within {timeout_s:g} s") from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
            raise HttpsError("unreachable", str(error)) from None
        except HttpsError:
            raise
        except Exception as error:  # noqa: BLE001 - the parsers' errors have many families; each ends this exchange only
            _logger.info("an answer that is not HTTP: %s", type(error).__name__)
            raise HttpsError("garbage", type(error).__name__) from None

    async def _exchange(self, target: Target, request: HttpsRequest) -> HttpsAnswer:
        origin = self._origin(target)
        stale = origin.used
        try:
            return await self._attempt(origin, target, request)
        except _STALE:
            if not stale:
                raise
        # The connection had been closed while it idled: that says nothing about the request.
        return await self._attempt(self._origin(target), target, request)

    async def _attempt(self, origin: _Origin, target: Target, request: HttpsRequest) -> HttpsAnswer:
        more = self._max_answer_bytes + _OVERHEAD_BYTES
        origin.allowance.left = origin.allowance.left + more if origin.users else more
        origin.users += 1
        answered = False
        try:
            answer = await self._read(origin, target, request)
            answered = True
            return answer
        finally:
            origin.users -= 1
            origin.used = True
            if not answered:
                self._retire(target.origin, origin)
            await self._close_if_retired(origin)

    async def _read(self, origin: _Origin, target: Target, request: HttpsRequest) -> HttpsAnswer:
        url = httpcore.URL(scheme=b"https", host=target.host.encode(), port=target.port, target=target.path.encode())
        authority = target.origin.removeprefix("https://")
        headers = [("host", authority), *request.headers, ("content-length", str(len(request.body)))]
        body = bytearray()
        async with origin.pool.stream("POST", url, headers=headers, content=_Body(request.body)) as response:
            with trio.CancelScope() as reading:
                async for piece in response.aiter_stream():
                    body += piece
                    if len(body) > self._max_answer_bytes:
                        reading.cancel()  # the library's generators are left the only way that closes them all
        if len(body) > self._max_answer_bytes:
            raise HttpsError("too_large", f"the answer is larger than {self._max_answer_bytes} bytes")
        answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return HttpsAnswer(response.status, answered, bytes(body))

    # --- pools

    def _origin(self, target: Target) -> _Origin:
        origin = self._origins.get(target.origin)
        if origin is None:
            allowance = _Allowance()
            pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=_CONNECTIONS_PER_ORIGIN,
                keepalive_expiry=_KEEP_ALIVE_S,
                http1=True,
                http2=True,
                network_backend=_CheckedNetwork(self._rules, allowance),
            )
            origin = self._origins[target.origin] = _Origin(pool, allowance)
        self._origins.move_to_end(target.origin)
        return origin

    def _retire(self, name: str, origin: _Origin) -> None:
        origin.retired = True
        if self._origins.get(name) is origin:
            del self._origins[name]

    async def _close_if_retired(self, origin: _Origin) -> None:
        if len(self._origins) > _MAX_POOLS:
            oldest = next(iter(self._origins))
            surplus = self._origins[oldest]
            self._retire(oldest, surplus)
            if not surplus.users:
                await _close(surplus)
        if origin.retired and not origin.users:
            await _close(origin)

    async def aclose(self) -> None:
        """Close every connection."""
        while self._origins:
            _, origin = self._origins.popitem()
            await _close(origin)


async def _close(origin: _Origin) -> None:
    with trio.move_on_after(1, shield=True):
        await origin.pool.aclose()


@asynccontextmanager
async def open_https_client(
    rules: DialingRules, *, tls: ssl.SSLContext | None = None, max_answer_bytes: int = 16 * 1024
) -> AsyncGenerator[HttpsClient]:
    """Open a client; leaving closes its connections.

    Args:
        rules: whom it may connect to.
        tls: authorities other than the system's.
        max_answer_bytes: the largest body that is read.
    """
    client = HttpsClient(rules, tls or ssl.create_default_context(), max_answer_bytes)
    try:
        yield client
    finally:
        await client.aclose()
