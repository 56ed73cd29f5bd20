"""Whom the server connects to on somebody else's word: URLs as text, and addresses."""

from __future__ import annotations

import ipaddress

import pytest

from triortc.errors import ConfigurationError
from triortc.signaling.dialing import DialingRefusedError, DialingRules, Target, is_public

PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1", "2002:101:101::1"]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "::ffff:192.0.0.192",
    "3fff::1",
    "192.168.1.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "fc00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_private_local_or_hides_one_that_is_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert not DialingRules().allows(ipaddress.ip_address(address))


def test_networks_of_ones_own_are_allowed_by_configuration() -> None:
    rules = DialingRules(networks=("10.0.0.0/8", "fd00::/8"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "1.1.1.1"):
        assert rules.allows(ipaddress.ip_address(address))
    for address in ("192.168.0.1", "fc00::1", "::1"):
        assert not rules.allows(ipaddress.ip_address(address))
    with pytest.raises(ConfigurationError, match="networks"):
        DialingRules(networks=("10.0.0.1/8",))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://push.example", Target("push.example", 443, "/")),
        ("https://PUSH.example/a/b?c=d&e", Target("push.example", 443, "/a/b?c=d&e")),
        ("https://push.example./x", Target("push.example", 443, "/x")),
        ("https://eu.push.example/x#fragment", Target("eu.push.example", 443, "/x")),
        ("https://local.example:8443/x", Target("local.example", 8443, "/x")),
    ],
)
def test_a_listed_host_may_be_asked_for(url: str, target: Target) -> None:
    rules = DialingRules(hosts=("push.example", "*.push.example", "local.example:8443"))
    assert rules.target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "push.example",
        "http://push.example/",
        "ftp://push.example/",
        "https:///x",
        "https://evilpush.example/",
        "https://.push.example/",
        "https://push.example.evil.example/",
        "https://push.example:444/",
        "https://push.example:99999/",
        "https://push.example:x/",
        "https://local.example/",
        "https://user:password@push.example/",
        "https://evil.example\\@push.example/",
        "https://push.example/ x",
        "https://push.example/\r\nhost: evil.example",
        "https://push.example/\x00",
        "https://pußh.example/",
        "https://[::1/",
        "https://push.example/" + "x" * 2048,
    ],
)
def test_a_url_that_breaks_a_rule_is_refused(url: str) -> None:
    rules = DialingRules(hosts=("push.example", "*.push.example", "local.example:8443"))
    with pytest.raises(DialingRefusedError):
        rules.target(url)


def test_without_a_list_any_host_may_be_asked_for_and_its_origin_is_as_RFC_6454_writes_it() -> None:  # noqa: N802
    rules = DialingRules()
    assert rules.target("https://anything.example:8443/x").origin == "https://anything.example:8443"
    assert rules.target("https://anything.example:443/x").origin == "https://anything.example"
    assert rules.target("https://[2001:db8::1]/x").origin == "https://[2001:db8::1]"


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://[::1]/"])
async def test_an_address_in_place_of_a_name_is_checked_too_however_it_is_written(url: str) -> None:
    rules = DialingRules()
    target = rules.target(url)
    with pytest.raises(DialingRefusedError):
        await rules.resolve(target.host, target.port)


async def test_localhost_is_not_on_the_internet() -> None:
    with pytest.raises(DialingRefusedError):
        await DialingRules().resolve("localhost", 443)
    allowed = await DialingRules(networks=("127.0.0.0/8",)).resolve("localhost", 443)
    assert allowed == ["127.0.0.1"]
