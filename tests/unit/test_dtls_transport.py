"""The DTLS transport beside its peer: keys, fingerprints, profiles, good-byes, limits."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from OpenSSL import SSL

from support.dtls_pair import CLIENT, SERVER, VALID_FROM, DtlsPair, make_transport, our_certificate
from support.dtls_stranger import Stranger, converse
from triortc.engine.dtls import (
    Certificate,
    DtlsClosed,
    DtlsConfiguration,
    DtlsConnected,
    DtlsFailed,
    DtlsState,
    DtlsTransport,
)
from triortc.engine.dtls.records import RECORD_HEADER_BYTES, pack_records, split_records
from triortc.engine.sdp.fingerprint import Fingerprint
from triortc.engine.srtp import PROFILES, PROFILES_BY_NAME, SrtpProfile, create_srtp
from triortc.errors import ConfigurationError, DtlsError

WRONG = "fingerprint: the peer's certificate is not the signalled one"


def _connected(pair: DtlsPair) -> DtlsPair:
    pair.start()
    pair.run()
    return pair


def _pair() -> DtlsPair:
    return _connected(DtlsPair(make_transport("client"), make_transport("server")))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_both_sides_get_each_others_keys_rfc5764_section_4_2(profile: SrtpProfile) -> None:
    configuration = DtlsConfiguration(srtp_profiles=(profile,))
    pair = _connected(
        DtlsPair(
            make_transport("client", configuration=configuration),
            make_transport("server", configuration=configuration),
        )
    )
    client, server = pair.keys
    assert client.profile is server.profile is profile
    assert (client.local_key, client.local_salt) == (server.remote_key, server.remote_salt)
    assert (client.remote_key, client.remote_salt) == (server.local_key, server.local_salt)
    assert client.local_key != client.remote_key
    assert len(client.local_key) == profile.key_bytes
    assert len(client.local_salt) == profile.salt_bytes
    outbound, _ = create_srtp(client)
    _, inbound = create_srtp(server)
    packet = b"\x80\xc9\x00\x01\x00\x00\x00\x07"
    assert inbound.unprotect_rtcp(outbound.protect_rtcp(packet)) == packet


def test_keys_are_not_in_the_representation_of_the_event() -> None:
    client, _ = _pair().keys
    shown = repr(client)
    for secret in (client.local_key, client.local_salt, client.remote_key, client.remote_salt):
        assert repr(secret) not in shown
        assert secret.hex() not in shown


def test_keys_are_openssl_s_exporter_in_the_order_of_rfc5764_section_4_2() -> None:
    stranger = Stranger("server", srtp=b"SRTP_AEAD_AES_128_GCM")
    (event,) = converse(make_transport("client"), stranger)
    assert isinstance(event, DtlsConnected)
    material = stranger.connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 56)
    assert event.local_key + event.remote_key + event.local_salt + event.remote_salt == material


def test_the_server_s_order_of_profiles_decides() -> None:
    stranger = Stranger("client", srtp=b"SRTP_AES128_CM_SHA1_32:SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_256_GCM")
    (event,) = converse(make_transport("server"), stranger)
    assert isinstance(event, DtlsConnected)
    assert event.profile.name == "AEAD_AES_256_GCM"


def test_the_configured_order_of_profiles_decides() -> None:
    order = tuple(PROFILES_BY_NAME[name] for name in ("AES128_CM_HMAC_SHA1_80", "AEAD_AES_128_GCM"))
    server = make_transport("server", configuration=DtlsConfiguration(srtp_profiles=order))
    pair = _connected(DtlsPair(make_transport("client"), server))
    assert pair.keys[0].profile.name == "AES128_CM_HMAC_SHA1_80"


@pytest.mark.parametrize("srtp", [b"", b"SRTP_AES128_CM_SHA1_32"])
@pytest.mark.parametrize("role", ["client", "server"])
def test_fails_without_a_common_profile_rfc5764_section_4_1(srtp: bytes, role: str) -> None:
    stranger = Stranger("server" if role == CLIENT else "client", srtp=srtp)
    transport = make_transport("client" if role == CLIENT else "server")
    assert converse(transport, stranger) == [DtlsFailed("the peer shares no SRTP profile with us")]


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_certificate_that_was_not_signalled_fails_and_gives_no_keys_rfc8122_section_6(role: str) -> None:
    other = our_certificate("somebody else")
    transport = make_transport("client" if role == CLIENT else "server", expects=other)
    stranger = Stranger("server" if role == CLIENT else "client")
    assert converse(transport, stranger) == [DtlsFailed(WRONG)]
    assert transport.state is DtlsState.FAILED
    assert stranger.error is not None
    assert "alert" in str(stranger.error)


def test_a_client_without_a_certificate_fails() -> None:
    stranger = Stranger("client", shows_certificate=False)
    (event,) = converse(make_transport("server"), stranger)
    assert isinstance(event, DtlsFailed)
    assert "certificate" in event.reason


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_peer_may_show_an_rsa_certificate_that_has_expired_rfc8827_section_6_5(role: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    certificate = Certificate(
        x509.CertificateBuilder(name, name, key.public_key(), 1, VALID_FROM, VALID_FROM + timedelta(days=1)).sign(
            key, SHA256()
        ),
        key,
    )
    transport = make_transport("client" if role == CLIENT else "server", expects=certificate)
    stranger = Stranger("server" if role == CLIENT else "client", certificate=certificate)
    (event,) = converse(transport, stranger)
    assert isinstance(event, DtlsConnected)


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_fingerprints_of_the_sha2_family_are_accepted_in_any_case(algorithm: str) -> None:
    right = our_certificate(SERVER).fingerprint(algorithm)
    transport = DtlsTransport(
        certificate=our_certificate(CLIENT),
        role="client",
        remote_fingerprints=[Fingerprint(algorithm, right.value.lower())],
        configuration=DtlsConfiguration(),
    )
    (event,) = converse(transport, Stranger("server"))
    assert isinstance(event, DtlsConnected)


@pytest.mark.parametrize("fingerprints", [[], ["sha-1"], ["md5"], ["sha-1", "md2"]])
def test_fingerprints_of_broken_hash_functions_are_refused_rfc8122_section_5(fingerprints: list[str]) -> None:
    with pytest.raises(DtlsError, match="sha-256, sha-384 and sha-512 are accepted"):
        DtlsTransport(
            certificate=our_certificate(CLIENT),
            role="client",
            remote_fingerprints=[Fingerprint(algorithm, ":".join(["AB"] * 20)) for algorithm in fingerprints],
            configuration=DtlsConfiguration(),
        )


def test_a_broken_hash_function_beside_a_good_one_does_not_count() -> None:
    certificate = our_certificate("somebody else")
    weak = Fingerprint("sha-1", our_certificate(SERVER).x509.fingerprint(SHA1()).hex(":").upper())
    transport = DtlsTransport(
        certificate=our_certificate(CLIENT),
        role="client",
        remote_fingerprints=[weak, certificate.fingerprint()],
        configuration=DtlsConfiguration(),
    )
    assert converse(transport, Stranger("server")) == [DtlsFailed(WRONG)]


def test_the_strongest_hash_function_counts_rfc8122_section_5() -> None:
    right, wrong = our_certificate(SERVER), our_certificate("somebody else")
    for strong, weak, expected in ((right, wrong, DtlsConnected), (wrong, right, DtlsFailed)):
        transport = DtlsTransport(
            certificate=our_certificate(CLIENT),
            role="client",
            remote_fingerprints=[weak.fingerprint("sha-256"), strong.fingerprint("sha-512")],
            configuration=DtlsConfiguration(),
        )
        (event,) = converse(transport, Stranger("server"))
        assert isinstance(event, expected)


def test_any_of_several_fingerprints_may_match() -> None:
    transport = DtlsTransport(
        certificate=our_certificate(CLIENT),
        role="client",
        remote_fingerprints=[our_certificate("somebody else").fingerprint(), our_certificate(SERVER).fingerprint()],
        configuration=DtlsConfiguration(),
    )
    (event,) = converse(transport, Stranger("server"))
    assert isinstance(event, DtlsConnected)


def test_a_fingerprint_of_the_wrong_length_is_the_embedder_s_mistake() -> None:
    with pytest.raises(DtlsError, match="32 pairs"):
        DtlsTransport(
            certificate=our_certificate(CLIENT),
            role="client",
            remote_fingerprints=[Fingerprint("sha-256", "AB:CD")],
            configuration=DtlsConfiguration(),
        )


def test_a_client_hello_of_several_datagrams_is_put_together_rfc6347_section_4_2_3() -> None:
    # As large as one with post-quantum key shares.
    stranger = Stranger("client", alpn=[b"x" * 250 + bytes([65 + n]) for n in range(7)])
    hello = stranger.step()
    records, rest = split_records(hello)
    assert rest == 0
    assert len(records) >= 2
    transport = make_transport("server")
    transport.start(0.0)
    pending = pack_records(records, 1200)
    for _ in range(6):
        for datagram in pending:
            transport.receive(datagram, 0.0)
        pending = []
        while (sent := transport.poll_transmit()) is not None:
            if answer := stranger.step(sent):
                pending.append(answer)
    assert isinstance(transport.poll_event(), DtlsConnected)


def test_datagrams_stay_within_the_mtu() -> None:
    configuration = DtlsConfiguration(mtu_bytes=508)
    pair = _connected(
        DtlsPair(
            make_transport("client", configuration=configuration),
            make_transport("server", configuration=configuration),
        )
    )
    assert max(len(datagram) for name in (CLIENT, SERVER) for datagram in pair.sent[name]) <= 508


@pytest.mark.parametrize("closer", [CLIENT, SERVER])
def test_close_notify_closes_the_other_side_rfc5246_section_7_2_1(closer: str) -> None:
    pair = _pair()
    other = SERVER if closer == CLIENT else CLIENT
    pair.transports[closer].close(pair.now)
    pair.collect(closer)
    pair.run_idle()
    assert pair.events[other][-1] == DtlsClosed()
    assert [transport.state for transport in pair.transports.values()] == [DtlsState.CLOSED, DtlsState.CLOSED]
    assert not any(isinstance(event, DtlsClosed) for event in pair.events[closer])
    assert all(transport.next_deadline() is None for transport in pair.transports.values())
    pair.transports[closer].close(pair.now)
    assert pair.transports[closer].poll_transmit() is None


def test_close_in_the_middle_of_a_handshake_is_quiet() -> None:
    transport = make_transport("client")
    transport.start(0.0)
    assert transport.poll_transmit() is not None
    transport.close(0.1)
    assert transport.state is DtlsState.CLOSED
    assert (transport.poll_transmit(), transport.poll_event(), transport.next_deadline()) == (None, None, None)


def test_close_before_the_start_and_start_after_it() -> None:
    transport = make_transport("client")
    transport.close(0.0)
    assert transport.poll_transmit() is None
    with pytest.raises(DtlsError, match="starts once"):
        transport.start(0.1)


def test_starting_twice_is_the_embedder_s_mistake() -> None:
    transport = make_transport("server")
    transport.start(0.0)
    with pytest.raises(DtlsError, match="starts once"):
        transport.start(0.0)


def test_another_role_is_the_embedder_s_mistake() -> None:
    with pytest.raises(ConfigurationError, match="'client' or 'server'"):
        make_transport("actpass")  # type: ignore[arg-type]  # the mistake under test


def test_a_fatal_alert_of_the_peer_fails_with_its_name() -> None:
    transport = make_transport("client")
    transport.start(0.0)
    transport.receive(bytes.fromhex("15 fefd 0000 000000000000 0002 0228"), 0.0)  # fatal, handshake_failure
    event = transport.poll_event()
    assert isinstance(event, DtlsFailed)
    assert "handshake failure" in event.reason


def test_application_data_is_counted_and_dropped() -> None:
    transport = make_transport("server")
    stranger = Stranger("client")
    converse(transport, stranger)
    stranger.connection.send(b"hello")
    transport.receive(stranger.written(), 1.0)
    assert transport.dropped_application_data == 1
    assert transport.state is DtlsState.CONNECTED


def test_renegotiation_is_refused() -> None:
    transport = make_transport("server")
    stranger = Stranger("client")
    converse(transport, stranger)
    stranger.connection.renegotiate()
    stranger.done = False
    transport.receive(stranger.step(), 1.0)
    assert transport.state is DtlsState.CONNECTED
    assert transport.poll_event() is None


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x16",
        bytes(40),
        bytes.fromhex("16 fefd 0000 000000000000 0010 0102"),  # cut off
        bytes.fromhex("17 fefd 0001 000000000009 0004 01020304"),  # an epoch that does not exist
        bytes.fromhex("16 0301 0000 000000000000 0001 01"),  # TLS
        bytes.fromhex("2e fefd 0000 000000000000 0001 01"),  # a unified header of DTLS 1.3
    ],
)
def test_what_is_no_record_is_dropped(datagram: bytes) -> None:
    pair = DtlsPair(make_transport("client"), make_transport("server"))
    pair.start()
    for transport in pair.transports.values():
        transport.receive(datagram, pair.now)
    pair.run()
    assert len(pair.connected_at) == 2
    for transport in pair.transports.values():
        transport.receive(datagram, pair.now)
        assert transport.state is DtlsState.CONNECTED


def test_datagrams_longer_than_allowed_are_dropped() -> None:
    transport = make_transport("server")
    transport.start(0.0)
    record = bytes.fromhex("16 fefd 0000 000000000000 03e8") + bytes(1000)
    transport.receive(record * 9, 0.0)
    assert transport.dropped_malformed == 1
    assert transport.state is DtlsState.CONNECTING


def test_a_handshake_of_too_many_datagrams_fails() -> None:
    transport = make_transport("server", configuration=DtlsConfiguration(max_handshake_datagrams=8))
    transport.start(0.0)
    record = bytes.fromhex("17 fefd 0001 000000000009 0004 01020304")
    for _ in range(8):
        transport.receive(record, 0.0)
    assert transport.state is DtlsState.CONNECTING
    transport.receive(record, 0.0)
    assert isinstance(transport.poll_event(), DtlsFailed)
    transport.receive(record, 0.0)
    assert transport.poll_event() is None


def test_a_handshake_of_too_many_bytes_fails() -> None:
    transport = make_transport("server", configuration=DtlsConfiguration(max_handshake_bytes=8192))
    transport.start(0.0)
    record = bytes.fromhex("17 fefd 0001 000000000009 1000") + bytes(4096)
    for _ in range(2):
        transport.receive(record, 0.0)
    event = transport.poll_event()
    assert isinstance(event, DtlsFailed)
    assert "max_handshake_bytes" in event.reason


def test_before_the_start_nothing_is_taken() -> None:
    transport = make_transport("server")
    transport.receive(Stranger("client").step(), 0.0)
    transport.handle_timeout(1.0)
    transport.media_arrived()
    assert transport.state is DtlsState.NEW
    assert transport.next_deadline() is None


def test_the_next_flight_is_answered_though_a_stray_copy_came_before() -> None:
    pair = DtlsPair(make_transport("client"), make_transport("server"))
    pair.start()
    hello = pair.sent[CLIENT][0]
    for _ in range(3):
        pair.transports[SERVER].receive(hello, pair.now)
    pair.run()
    assert len(pair.connected_at) == 2


def test_two_hundred_handshakes_leave_nothing_behind() -> None:
    connections: list[weakref.ref[SSL.Connection]] = []
    transports = []
    gc.collect()
    gc.disable()
    try:
        known = len(SSL.Connection._reverse_mapping)
        for _ in range(200):
            pair = _pair()
            for name in (CLIENT, SERVER):
                connection = pair.transports[name]._connection
                assert connection is not None
                connections.append(weakref.ref(connection))
            del connection
            pair.transports[CLIENT].close(pair.now)
            transports.append(pair.transports[CLIENT])
            del pair
        # By reference counts alone: there are no cycles that would wait for the collector.
        assert [reference for reference in connections if reference() is not None] == []
        assert len(SSL.Connection._reverse_mapping) == known
    finally:
        gc.enable()


def test_openssl_s_own_timer_runs_behind_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSL.Connection, "DTLSv1_get_timeout", lambda connection: 0.03)
    fired: list[bool] = []

    def fire(connection: SSL.Connection) -> bool:
        fired.append(True)
        if len(fired) == 3:
            raise SSL.Error([("SSL routines", "", "read timeout expired")])
        return True

    monkeypatch.setattr(SSL.Connection, "DTLSv1_handle_timeout", fire)
    transport = make_transport("client")
    transport.start(0.0)
    assert transport.next_deadline() == pytest.approx(0.03)
    for _ in range(4):
        deadline = transport.next_deadline()
        assert deadline is not None
        transport.handle_timeout(deadline)
    assert len(fired) == 3
    assert transport.poll_event() == DtlsFailed("read timeout expired")
    assert transport.next_deadline() is None


def test_an_openssl_timer_that_is_always_due_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSL.Connection, "DTLSv1_get_timeout", lambda connection: 0.0)
    transport = make_transport("client")
    transport.start(0.0)
    assert transport.next_deadline() == pytest.approx(0.01)


def test_one_context_serves_all_connections_of_a_certificate() -> None:
    first, second = make_transport("client"), make_transport("client")
    assert first._context is second._context


@pytest.mark.parametrize(
    "change",
    [
        {"mtu_bytes": 100},
        {"first_retransmission_ms": 5},
        {"max_retransmission_ms": 20},
        {"final_flight_resends": -1},
        {"handshake_timeout_ms": 50},
        {"max_datagram_bytes": 100},
        {"max_datagram_bytes": 1 << 15},
        {"max_handshake_datagrams": 1},
        {"max_handshake_bytes": 100},
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        replace(DtlsConfiguration(), **change)  # type: ignore[arg-type]  # only the numbers are replaced


def test_no_profile_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="srtp_profiles is empty"):
        DtlsConfiguration(srtp_profiles=())


def test_records_are_cut_and_packed_again() -> None:
    records = [bytes([22, 0xFE, 0xFD]) + bytes(8) + bytes([0, n]) + bytes(n) for n in (0, 5, 200)]
    assert split_records(b"".join(records)) == (records, 0)
    assert split_records(b"".join(records) + b"\x16\xfe") == (records, 2)
    assert pack_records(records, 2 * RECORD_HEADER_BYTES + 5) == [records[0] + records[1], records[2]]
    assert pack_records([], 1200) == []
