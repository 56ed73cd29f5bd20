"""Candidates: lines (RFC 8839), priorities and foundations (RFC 8445), and which addresses are taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triortc.engine.ice import IceConfiguration, candidate_priority, host_candidate
from triortc.engine.ice.addresses import refusal
from triortc.engine.ice.candidates import pair_priority, peer_reflexive_priority
from triortc.engine.ice.directory import CandidateDirectory
from triortc.engine.sdp.candidate import Candidate, format_candidate, parse_candidate
from triortc.errors import ConfigurationError, SdpError

FILE: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "ice_priorities_and_candidates.json").read_text()
)
ACCEPTED = [v for v in FILE["candidates"] if isinstance(v["expect"], dict)]
REJECTED = [v["line"] for v in FILE["candidates"] if str(v["expect"]).startswith("reject")]
IGNORED = [v["line"] for v in FILE["candidates"] if str(v["expect"]).startswith("ignore")]


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: vector["from"])
def test_rfc8839_5_1_candidate_line_is_parsed(vector: dict[str, Any]) -> None:
    candidate = parse_candidate(vector["line"])
    expect = dict(vector["expect"])
    names = {"type": "kind", "tcptype": "tcp_type"}
    for name, value in expect.pop("extensions", {}).items():
        assert candidate.extension(name) == value
    for name in ("generation", "ufrag"):
        if name in expect:
            assert candidate.extension(name) == str(expect.pop(name))
    for name, value in expect.items():
        assert getattr(candidate, names.get(name, name)) == value
    assert parse_candidate("a=" + format_candidate(candidate) + "\r\n") == candidate


@pytest.mark.parametrize("line", REJECTED)
def test_rfc8839_5_1_malformed_line_is_rejected(line: str) -> None:
    with pytest.raises(SdpError):
        parse_candidate(line)


@pytest.mark.parametrize("line", IGNORED)
def test_rfc8839_5_1_unknown_transport_or_type_is_parsed_and_not_used(line: str) -> None:
    directory = CandidateDirectory(IceConfiguration())
    assert directory.add_remote(parse_candidate(line)) == "transport"
    assert not directory.remote


@pytest.mark.parametrize(
    "line",
    [
        "candidate:1 1 udp 1 192.0.2.1 1 typ host generation",
        "candidate:1 1 udp 1 192.0.2.1 1 typ host raddr 1.2.3.4 rport x",
        "candidate:1 1 udp 0 192.0.2.1 1 typ host",
        "candidate:1 1 udp 2147483648 192.0.2.1 1 typ host",
        "candidate:1 1 udp ١ 192.0.2.1 1 typ host",
        "candidate:1  1 udp 1 192.0.2.1 1 typ host",
        "candidate:a_b 1 udp 1 192.0.2.1 1 typ host",
        "candidate:1 1 udp 1 192.0.2.1 1 kind host",
        "1 1 udp 1 192.0.2.1 1 typ host",
        "candidate:1 1 udp 1 192.0.2.1 1 typ host x " + "y" * 1024,
    ],
)
def test_rfc8839_5_1_further_malformed_lines_are_rejected(line: str) -> None:
    with pytest.raises(SdpError):
        parse_candidate(line)


@pytest.mark.parametrize("vector", FILE["vectors"], ids=lambda v: f"{v['type']}-{v['priority']}")
def test_rfc8445_5_1_2_1_candidate_priority(vector: dict[str, Any]) -> None:
    assert (
        candidate_priority(vector["type"], local_preference=vector["local_preference"], component=vector["component"])
        == vector["priority"]
    )


@pytest.mark.parametrize("vector", FILE["pairs"], ids=lambda v: str(v["pair_priority"]))
def test_rfc8445_6_1_2_3_pair_priority(vector: dict[str, Any]) -> None:
    assert pair_priority(vector["controlling"], vector["controlled"]) == vector["pair_priority"]


def test_rfc8445_7_1_1_priority_in_checks_is_that_of_a_peer_reflexive_candidate() -> None:
    assert peer_reflexive_priority(candidate_priority("host")) == candidate_priority("prflx")


def test_rfc8445_5_1_1_3_foundation_is_equal_for_one_base_address_and_differs_otherwise() -> None:
    one = host_candidate(("192.0.2.1", 1))
    assert one.foundation == host_candidate(("192.0.2.1", 2)).foundation
    assert one.foundation != host_candidate(("192.0.2.2", 1)).foundation
    assert parse_candidate(format_candidate(one)) == one


def test_advertised_address_stands_in_the_candidate_instead_of_the_base() -> None:
    candidate = host_candidate(("10.0.0.5", 7), advertised=("203.0.113.5", 7))
    assert (candidate.address, candidate.port, candidate.kind) == ("203.0.113.5", 7, "host")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1", None),
        ("10.1.2.3", None),
        ("2001:db8::1", None),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("169.254.1.1", "link_local"),
        ("fe80::1", "scope"),
        ("fe80::1%eth0", "scope"),
        ("::ffff:192.0.2.1", "scope"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "multicast"),
        ("::", "multicast"),
        ("255.255.255.255", "multicast"),
        ("2001:DB8::1", "form"),
        ("0f5b1e5e-1d6c-4d42-9d5b-3b6b1b0c9a11.local", "mdns"),
        ("example.org", "name"),
    ],
)
def test_addresses_are_refused_by_policy_and_names_never_resolved(address: str, reason: str | None) -> None:
    assert refusal((address, 5000), IceConfiguration()) == reason


def test_loopback_and_link_local_are_taken_when_configured_and_port_0_never() -> None:
    configuration = IceConfiguration(allow_loopback=True, allow_link_local=True)
    for address in ("127.0.0.1", "::1", "169.254.1.1"):
        assert refusal((address, 5000), configuration) is None
        assert refusal((address, 0), configuration) == "port"


def remote(number: int, **changes: Any) -> Candidate:
    fields = {
        "foundation": "1",
        "component": 1,
        "transport": "udp",
        "priority": 9,
        "address": f"192.0.2.{number}",
        "port": 9,
        "kind": "host",
    }
    return Candidate(**{**fields, **changes})


def test_component_2_tcp_duplicates_and_the_twenty_first_candidate_are_refused() -> None:
    directory = CandidateDirectory(IceConfiguration())
    assert directory.add_remote(remote(1, component=2)) == "component"
    assert directory.add_remote(remote(1, transport="tcp")) == "transport"
    for number in range(1, 21):
        assert isinstance(directory.add_remote(remote(number)), Candidate)
    assert directory.add_remote(remote(20)) == "duplicate"
    assert directory.add_remote(remote(21)) == "remote_candidates"
    assert len(directory.remote) == 20


def test_non_canonical_ipv6_from_signaling_is_taken_in_the_form_that_packets_have() -> None:
    directory = CandidateDirectory(IceConfiguration())
    assert isinstance(directory.add_remote(remote(1, address="2001:DB8:0:0::1")), Candidate)
    assert ("2001:db8::1", 9) in directory.remote


@pytest.mark.parametrize(
    "candidate",
    [remote(1, component=2), remote(1, transport="tcp")],
)
def test_wrong_local_candidate_raises_at_once(candidate: Candidate) -> None:
    with pytest.raises(ConfigurationError, match="component 1"):
        CandidateDirectory(IceConfiguration()).add_local(candidate, ("192.0.2.1", 9))


@pytest.mark.parametrize("base", ["localhost", "2001:DB8::1"])
def test_wrong_base_raises_at_once(base: str) -> None:
    with pytest.raises(ConfigurationError):
        CandidateDirectory(IceConfiguration()).add_local(remote(1), (base, 9))


@pytest.mark.parametrize(
    "numbers", [{"rto_ms": 0}, {"consent_interval_s": 4}, {"consent_expiry_s": 6}, {"max_pairs": -1}]
)
def test_senseless_configuration_raises_at_once(numbers: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        IceConfiguration(**numbers)  # type: ignore[arg-type]  # wrong numbers are the point
