"""Key sets from files and URLs: cached, refreshed within bounds, no issuer's key in another's place (3.8, 3.8b)."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from triortc.errors import ConfigurationError
from triortc.signaling.jwks import CachedKeys, JwksCacheConfiguration, JwksFile, JwksUrl
from triortc.signaling.revocations import RevocationList
from triortc.signaling.tokens import Claims, KeysUnavailableError, TokenError, TokenVerifier

ONE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TWO = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NOW = 1_800_000_000.0


def document(**keys: Ed25519PrivateKey) -> bytes:
    entries = []
    for kid, key in keys.items():
        entry = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key()))
        entries.append({**entry, "kid": kid, "use": "sig"})
    return json.dumps({"keys": entries}).encode()


def token(key: Ed25519PrivateKey, kid: str, *, iss: str, org: str, **more: Any) -> str:
    claims = {"iss": iss, "aud": "triortc", "sub": "v", "org": org, "role": "visitor", "iat": NOW, "exp": NOW + 60}
    return jwt.encode({**claims, "jti": "j1", **more}, key, algorithm="EdDSA", headers={"kid": kid})


class Source:
    """A key set that a test changes, and that counts who reads it."""

    def __init__(self, content: bytes, issuer: str = "https://one.example", organizations: tuple[str, ...] = ("acme",)):
        self.content = content
        self.issuer = issuer
        self.organizations = organizations
        self.reads = 0
        self.failure: Exception | None = None
        self.hold: trio.Event | None = None

    async def load(self) -> bytes:
        self.reads += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return self.content


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_set_is_read_once_and_again_when_it_is_old() -> None:
    source, clock = Source(document(a=ONE)), Clock()
    keys = CachedKeys([source], clock=clock)
    for clock.now in (0.0, 1.0, 599.0):
        assert await keys.find("a", source.issuer) is not None
    assert source.reads == 1
    clock.now = 600.0
    assert await keys.find("a", source.issuer) is not None
    assert source.reads == 2


async def test_a_new_key_is_found_when_its_first_token_comes() -> None:
    source, clock = Source(document(a=ONE)), Clock()
    keys = CachedKeys([source], clock=clock)
    assert await keys.find("a", source.issuer) is not None
    source.content = document(a=ONE, b=TWO)
    clock.now = 31.0
    assert await keys.find("b", source.issuer) is not None
    assert source.reads == 2


async def test_made_up_key_ids_make_nobody_read_more_often_than_the_bound() -> None:
    source, clock = Source(document(a=ONE)), Clock()
    keys = CachedKeys([source], clock=clock)
    for number in range(1000):
        clock.now = number * 0.1  # 100 seconds
        assert await keys.find(f"made-up-{number}", source.issuer) is None
        assert await keys.find(f"made-up-{number}", "https://nobody.example") is None
    assert source.reads == 4


async def test_many_who_wait_for_one_key_are_served_by_one_reading() -> None:
    source = Source(document(a=ONE))
    source.hold = trio.Event()
    keys = CachedKeys([source])
    found: list[bool] = []

    async def ask() -> None:
        found.append(await keys.find("a", source.issuer) is not None)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        source.hold.set()
    assert found == [True] * 20
    assert source.reads == 1


async def test_a_slow_issuer_holds_up_the_first_token_that_needs_its_set_anew_and_no_other() -> None:
    source, clock = Source(document(a=ONE)), Clock()
    keys = CachedKeys([source], clock=clock)
    assert await keys.find("a", source.issuer) is not None
    clock.now, source.hold = 600.0, trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.find, "a", source.issuer)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            assert await keys.find("a", source.issuer) is not None
            source.hold.set()
        assert source.hold.is_set()
        nursery.cancel_scope.cancel()
    assert source.reads == 2


async def test_whoever_waits_behind_one_that_gives_up_asks_for_itself() -> None:
    source = Source(document(a=ONE))
    source.hold = trio.Event()
    keys = CachedKeys([source])
    found: list[bool] = []

    async def ask() -> None:
        found.append(await keys.find("a", source.issuer) is not None)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as gives_up:
            async with trio.open_nursery() as first:
                first.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                gives_up.cancel()
        source.hold.set()
    assert found == [True]


async def test_a_key_of_one_set_of_an_issuer_does_not_wait_for_another_set() -> None:
    first, second = Source(document(a=ONE)), Source(document(b=TWO))
    clock = Clock()
    keys = CachedKeys([first, second], clock=clock)
    assert await keys.load() == []
    clock.now = 31.0
    assert await keys.find("b", second.issuer) is not None
    assert (first.reads, second.reads) == (1, 1)


@pytest.mark.parametrize(
    "failure", [OSError("no such file"), httpx.ConnectError("down"), trio.TooSlowError(), httpx.InvalidURL("x")]
)
async def test_an_issuer_that_is_down_keeps_nobody_out_for_a_day(failure: Exception) -> None:
    source, clock = Source(document(a=ONE)), Clock()
    keys = CachedKeys([source], clock=clock)
    assert await keys.find("a", source.issuer) is not None
    source.failure = failure
    clock.now = 23 * 3600.0
    assert await keys.find("a", source.issuer) is not None
    clock.now = 24 * 3600.0
    with pytest.raises(KeysUnavailableError):
        await keys.find("a", source.issuer)
    assert len(await keys.load()) == 1


async def test_a_key_that_is_not_known_while_the_set_cannot_be_read_is_no_wrong_key() -> None:
    source, other, clock = Source(document(a=ONE)), Source(document(b=TWO)), Clock()
    keys = CachedKeys([source, other], clock=clock)
    verifier = TokenVerifier(keys, wall_s=lambda: NOW)
    source.failure = httpx.ConnectError("down")
    with pytest.raises(TokenError) as error:
        await verifier.verify(token(ONE, "a", iss=source.issuer, org="acme"))
    assert error.value.code == "server.unavailable"
    assert (await verifier.verify(token(TWO, "b", iss=source.issuer, org="acme"))).sub == "v"  # the other set has it
    source.failure, clock.now = None, 31.0
    assert (await verifier.verify(token(ONE, "a", iss=source.issuer, org="acme"))).sub == "v"
    clock.now = 62.0
    with pytest.raises(TokenError) as error:
        await verifier.verify(token(ONE, "made-up", iss=source.issuer, org="acme"))
    assert error.value.code == "auth.invalid"


async def test_a_set_that_became_nonsense_leaves_the_one_before_in_force() -> None:
    source, clock = Source(document(a=ONE)), Clock()
    keys = CachedKeys([source], clock=clock)
    assert await keys.load() == []
    source.content = b'{"keys": []}'
    clock.now = 700.0
    assert await keys.find("a", source.issuer) is not None


async def test_a_key_that_was_taken_out_is_gone_with_the_next_reading() -> None:
    source, clock = Source(document(a=ONE, b=TWO)), Clock()
    keys = CachedKeys([source], clock=clock)
    assert await keys.find("a", source.issuer) is not None
    source.content = document(b=TWO)
    clock.now = 600.0
    assert await keys.find("a", source.issuer) is None


async def test_3_8b_a_tenant_cannot_take_the_place_of_another_by_the_same_key_id() -> None:
    """Both publish `kid` "k": a token is held against its own issuer's key, which speaks for its own tenants only."""
    one = Source(document(k=ONE), "https://one.example", ("acme",))
    two = Source(document(k=TWO), "https://two.example", ("globex",))
    for sources in ([one, two], [two, one]):
        verifier = TokenVerifier(CachedKeys(sources), wall_s=lambda: NOW)
        assert (await verifier.verify(token(ONE, "k", iss="https://one.example", org="acme"))).org == "acme"
        assert (await verifier.verify(token(TWO, "k", iss="https://two.example", org="globex"))).org == "globex"
        refused = set()
        for key, iss, org in (
            (TWO, "https://one.example", "acme"),  # the other's key
            (TWO, "https://two.example", "acme"),  # the other's tenant
            (ONE, "https://two.example", "acme"),
            (ONE, "https://three.example", "acme"),  # nobody's
        ):
            with pytest.raises(TokenError) as error:
                await verifier.verify(token(key, "k", iss=iss, org=org))
            refused.add(error.value.code)
        assert refused == {"auth.invalid"}


def test_times_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        JwksCacheConfiguration(refresh_s=10)


# --- files and URLs


async def test_a_file_is_read_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(document(a=ONE))
    keys = CachedKeys([JwksFile(path, "i", ("acme",))])
    assert await keys.find("a", "i") is not None
    path.write_bytes(document(b=ONE))
    assert await keys.load() == []
    assert await keys.find("a", "i") is None
    path.unlink()
    assert "the keys of i" in (await keys.load())[0]


@asynccontextmanager
async def web(answer: Callable[[], bytes | None]) -> AsyncGenerator[str]:
    """Serve one answer, whatever is asked; None: never."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            said = answer()
            if said is None:
                await trio.sleep_forever()
            try:
                await stream.send_all(said or b"")
            except trio.BrokenResourceError:
                pass  # whoever asked has had enough

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/keys"
        nursery.cancel_scope.cancel()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_set_behind_a_url_is_fetched() -> None:
    async with web(lambda: http("200 OK", document(a=ONE))) as url:
        keys = CachedKeys([JwksUrl(url, "i", ("acme",))])
        assert await keys.find("a", "i") is not None


async def test_the_authorities_of_tls_are_not_read_on_the_loop_that_media_runs_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers: list[threading.Thread] = []
    create = ssl.create_default_context

    def observed(*arguments: Any, **options: Any) -> ssl.SSLContext:
        readers.append(threading.current_thread())
        return create(*arguments, **options)

    monkeypatch.setattr(ssl, "create_default_context", observed)
    async with web(lambda: http("200 OK", document(a=ONE))) as url:
        assert await CachedKeys([JwksUrl(url, "i", ("acme",))]).load() == []
    assert readers
    assert threading.main_thread() not in readers


@pytest.mark.parametrize(
    "answer",
    [
        http("302 Found", b"", "location: http://127.0.0.1:1/"),
        http("404 Not Found"),
        http("500 Oops"),
        http("200 OK", b"x" * 300_000),
        http("200 OK", b"not json"),
        http("200 OK", b'{"keys":' + b"[" * 100_000),
        b"garbage\r\n\r\n",
        b"",
        None,
    ],
    ids=["redirect", "404", "500", "too large", "not json", "nested", "garbage", "closed", "silent"],
)
async def test_answers_that_are_no_set_are_words_and_nothing_else(answer: bytes | None) -> None:
    async with web(lambda: answer) as url:
        keys = CachedKeys([JwksUrl(url, "i", ("acme",), timeout_s=0.3)])
        with pytest.raises(KeysUnavailableError):
            await keys.find("a", "i")
        failures = await keys.load()
    assert len(failures) == 1
    assert failures[0].startswith("the keys of i: ")


@pytest.mark.parametrize("url", ["http://keys.example/jwks", "ftp://keys.example", "keys.example", "file:///etc/keys"])
def test_keys_come_over_https_or_from_this_machine(url: str) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        JwksUrl(url, "i", ("acme",))
    JwksUrl("https://keys.example/jwks", "i", ("acme",))


# --- revocations


def claims(**changes: Any) -> Claims:
    base = {"iss": "i", "sub": "ana", "org": "acme", "role": "agent", "iat": NOW - 10, "exp": NOW + 60, "jti": "j1"}
    return Claims(**{**base, **changes})


async def test_3_8_a_token_is_revoked_by_its_id_and_all_of_a_person_until_now() -> None:
    now = NOW
    revocations = RevocationList(wall_s=lambda: now)
    assert not await revocations.revoked(claims())
    revocations.revoke_token("acme", "j1")
    assert await revocations.revoked(claims())
    assert not await revocations.revoked(claims(jti="j2"))
    assert not await revocations.revoked(claims(org="globex"))
    revocations.revoke_person("acme", "ben")
    assert await revocations.revoked(claims(sub="ben", jti="j3"))
    assert not await revocations.revoked(claims(sub="ben", jti="j4", iat=NOW + 301))
    assert not await revocations.revoked(claims(sub="ben", jti="j3", org="globex"))


def test_3_8_a_token_of_a_revoked_person_stays_revoked_where_its_issuers_clock_runs_ahead() -> None:
    revocations = RevocationList(wall_s=lambda: NOW)
    revocations.revoke_person("acme", "ana")
    # Issued before the revocation, by a clock that is as far ahead as a verifier allows.
    assert revocations.is_revoked(claims(iat=NOW + 300))
    exact = RevocationList(wall_s=lambda: NOW, clock_skew_s=0.0)
    exact.revoke_person("acme", "ana")
    assert exact.is_revoked(claims(iat=NOW))
    assert not exact.is_revoked(claims(iat=NOW + 1))


def test_3_8_a_revocation_is_kept_as_long_as_a_token_that_it_means_is_taken() -> None:
    now = NOW
    revocations = RevocationList(wall_s=lambda: now)
    revocations.revoke_person("acme", "ana")
    ahead = claims(iat=NOW + 300, exp=NOW + 3900)
    now = ahead.exp + 299  # the last second in which a verifier takes it
    revocations.revoke_token("acme", "another")
    assert revocations.is_revoked(ahead)


def test_a_person_who_is_revoked_again_is_the_last_to_be_forgotten() -> None:
    now = NOW
    revocations = RevocationList(wall_s=lambda: now)
    revocations.revoke_person("acme", "ana")
    revocations.revoke_person("acme", "ben")
    now += 3000
    revocations.revoke_person("acme", "ana")
    now += 1500
    revocations.read(b'{"revocations": []}')
    assert len(revocations) == 1
    assert revocations.is_revoked(claims(iat=NOW + 2999))


def test_revocations_are_forgotten_when_no_token_can_live_any_more() -> None:
    now = NOW
    revocations = RevocationList(wall_s=lambda: now)
    for number in range(100):
        revocations.revoke_token("acme", f"j{number}")
    assert len(revocations) == 100
    now += 3600 + 600 + 1
    revocations.revoke_person("acme", "ana")
    assert len(revocations) == 1


def test_a_document_of_revocations_is_read_and_read_again() -> None:
    revocations = RevocationList(wall_s=lambda: NOW)
    text = b'{"revocations": [{"org": "acme", "jti": "j1"}, {"org": "acme", "sub": "ben"}]}'
    revocations.read(text)
    revocations.read(text)
    assert len(revocations) == 2
    assert revocations.is_revoked(claims())


def test_3_8_a_revocation_means_what_was_issued_until_its_time_and_without_one_until_it_was_read() -> None:
    now = NOW

    def started() -> RevocationList:
        revocations = RevocationList(wall_s=lambda: now, clock_skew_s=0.0)
        revocations.read(
            b'{"revocations": [{"org": "acme", "sub": "ana", "at": %d}, {"org": "acme", "sub": "ben"}]}' % NOW
        )
        return revocations

    now = NOW + 100
    first = started()
    first.read(b'{"revocations": [{"org": "acme", "sub": "ben"}]}')
    now = NOW + 1000
    first.read(b'{"revocations": [{"org": "acme", "sub": "ben"}]}')
    anew = started()
    until = {
        (sub, name): max(iat for iat in range(0, 2000, 100) if known.is_revoked(claims(sub=sub, iat=NOW + iat)))
        for sub in ("ana", "ben")
        for name, known in (("first", first), ("anew", anew))
    }
    assert until == {("ana", "first"): 0, ("ana", "anew"): 0, ("ben", "first"): 100, ("ben", "anew"): 1000}


def test_a_revocation_is_forgotten_by_its_own_time_in_whatever_order_the_document_has_them() -> None:
    now = NOW
    revocations = RevocationList(wall_s=lambda: now)
    text = b'{"revocations": [{"org": "acme", "sub": "ana", "at": %d}, {"org": "acme", "sub": "ben", "at": %d}]}'
    revocations.read(text % (NOW, NOW - 2000))
    now += 3600 + 600 - 1000
    revocations.revoke_token("acme", "j1")
    assert revocations.is_revoked(claims(sub="ana", jti="j2"))
    assert len(revocations) == 2


def test_a_revocation_of_the_future_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="unix seconds"):
        RevocationList(wall_s=lambda: NOW).read(
            b'{"revocations": [{"org": "acme", "sub": "ana", "at": %d}]}' % (NOW * 1000)
        )


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'{"revocations": 5}', b'{"revocations": [{"org": "acme"}]}', b'{"revoked": []}', b"\xff",
     b'{"revocations": [{"org": "acme", "jti": "a", "sub": "b"}]}',
     b'{"revocations": [{"org": "acme", "jti": "a", "at": "2026-11-28"}]}'],
)  # fmt: skip
def test_what_is_no_list_of_revocations_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigurationError):
        RevocationList(wall_s=lambda: NOW).read(text)
