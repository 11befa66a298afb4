"""Which addresses may be connected to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.guard import Guard, Refused, parse_networks

STRICT = Guard()

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
# Hypothesis draws from the special networks more often than chance would.
NOT_PUBLIC_V4 = V4.filter(lambda each: bool(STRICT.refusal(str(each))))
PUBLIC_V4 = V4.filter(lambda each: each.is_global and not each.is_multicast)

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e"]

REFUSED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1"),
    *("192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.2.3"),
    *("240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1"),
    *("2001:db8::1", "3fff::1", "2001::1", "2001:2::1", "2001:10::1", "5f00::1", "4000::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::8.8.8.8", "64:ff9b:1:2::1"),
    *(
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:808:808::1",
        "2001:0:102:304::f5ff:fffe",
        "::ffff:0:127.0.0.1",
    ),
    *("2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:10.0.0.1", "100::1"),
    *("", "localhost", "1.2.3", "0x7f.1", "127.1", "2130706433", "1.2.3.4.5"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    """Of both families."""
    assert STRICT.refusal(address) == ""


@pytest.mark.parametrize("address", REFUSED)
def test_any_other_address_is_refused_with_its_kind(address: str) -> None:
    """Whatever family, whatever form; and what is no address at all is refused, too."""
    assert STRICT.refusal(address)


@given(V4)
def test_what_the_standard_library_calls_special_is_refused(address: ipaddress.IPv4Address) -> None:
    """Its table and ours were written by different people."""
    special = not address.is_global or address.is_multicast or address.is_reserved
    assert not special or STRICT.refusal(str(address))


@given(V6)
def test_special_addresses_of_ipv6_are_refused(address: ipaddress.IPv6Address) -> None:
    """As above; a mapped address is the IPv4 address in it, which older libraries do not see."""
    special = not address.is_global or address.is_multicast or address.is_site_local
    mapped = address.ipv4_mapped
    allowed_mapped = mapped is not None and not STRICT.refusal(str(mapped))
    assert not special or allowed_mapped or STRICT.refusal(str(address))


@given(PUBLIC_V4)
def test_little_more_is_refused_than_that(address: ipaddress.IPv4Address) -> None:
    """The web would be of no use otherwise."""
    ours = (
        "192.0.0.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.175.48.0/24",
    )
    within = any(address in ipaddress.ip_network(each) for each in ours)
    assert bool(STRICT.refusal(str(address))) == within


@given(NOT_PUBLIC_V4, st.integers(0, 2**64 - 1))
def test_no_disguise_helps_an_address_that_is_not_public(
    inner: ipaddress.IPv4Address, rest: int
) -> None:
    """Mapped, compatible, translated, NAT64, 6to4, Teredo at either end, ISATAP."""
    low = int(inner)
    disguised = [
        0xFFFF << 32 | low,
        low,
        0xFFFF << 48 | low,
        0x64FF9B << 96 | low,
        0x64FF9B0001 << 80 | (rest & (2**48 - 1)) << 32 | low,
        0x2002 << 112 | low << 80 | rest,
        0x20010000 << 96 | low << 64 | rest,
        0x20010000 << 96 | rest & (2**32 - 1) | (low ^ 0xFFFFFFFF),
        0x26064700 << 96 | 0x5EFE << 32 | low,
    ]
    assert all(STRICT.refusal(str(ipaddress.IPv6Address(each))) for each in disguised)


@given(PUBLIC_V4)
def test_a_host_with_ipv6_alone_reaches_public_addresses_by_nat64(
    inner: ipaddress.IPv4Address,
) -> None:
    """The well-known prefix, and the mapped form, are judged by what they carry."""
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        outer = str(ipaddress.IPv6Address(prefix | int(inner)))
        assert STRICT.refusal(outer) == STRICT.refusal(str(inner))


def test_one_bad_address_condemns_a_name() -> None:
    """Else whoever owns the name decides which of them is tried."""
    STRICT.check("example.test", ["93.184.216.34"])
    with pytest.raises(Refused, match=r"example.test is at 10.0.0.1, which is a private address"):
        STRICT.check("example.test", ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(Refused, match="no address"):
        STRICT.check("example.test", [])


def test_a_refusal_names_the_way_out() -> None:
    """The owner's way, which no model can go."""
    with pytest.raises(
        Refused, match=r"10\.0\.0\.1 is a private address; .*allow_private in \[web\]"
    ):
        STRICT.check("10.0.0.1", ["10.0.0.1"])


def test_the_owner_can_open_addresses_and_networks() -> None:
    """Those and no others, also in the form that the kernel has for them."""
    guard = Guard(parse_networks(["192.168.1.10", "fd00::/8"]))
    for allowed in ("192.168.1.10", "::ffff:192.168.1.10", "fd12::1"):
        assert guard.refusal(allowed) == ""
    for other in ("192.168.1.11", "127.0.0.1", "fc00::1", "::1"):
        assert guard.refusal(other)


def test_what_is_opened_must_be_a_network() -> None:
    """A typing error opens nothing."""
    with pytest.raises(ValueError, match="192"):
        parse_networks(["192.168.1.10/24"])
