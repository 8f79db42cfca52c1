"""Which URLs a webhook may have, and when it is retried."""

from ipaddress import ip_address

import pytest

from webhooks.networks import Networks, parse_networks
from webhooks.retry_schedule import DELAYS, next_delay
from webhooks.url import MAX_URL, BadWebhook, Target, check_url

PUBLIC_ONLY = Networks()


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/")),
        ("HTTPS://Example.COM:8443/a/b?c=d%20e", Target("https", "example.com", 8443, "/a/b?c=d%20e")),
        ("https://example.com?c=d", Target("https", "example.com", 443, "/?c=d")),
        ("https://bücher.example/x", Target("https", "xn--bcher-kva.example", 443, "/x")),
        ("https://hooks_1.example-2.com/@x", Target("https", "hooks_1.example-2.com", 443, "/@x")),
        ("https://1.1.1.1/", Target("https", "1.1.1.1", 443, "/")),
        ("https://[2606:4700:4700:0::1111]:444/", Target("https", "2606:4700:4700::1111", 444, "/")),
        ("https://" + "a" * (MAX_URL - 12) + ".com", None),
        ("https://example.com/" + "a" * (MAX_URL - 20), Target("https", "example.com", 443, "/" + "a" * (MAX_URL - 20))),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target | None) -> None:
    if target is None:
        with pytest.raises(BadWebhook, match="not a host name"):
            check_url(url, PUBLIC_ONLY)
    else:
        assert check_url(url, PUBLIC_ONLY) == target


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.com/" + "a" * (MAX_URL - 19), "longer than 2000"),
        ("", "must begin with https"),
        ("example.com", "must begin with https"),
        ("http://example.com", "must begin with https"),
        ("http://1.1.1.1/", "must begin with https"),
        ("ftp://example.com", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        (" https://example.com", "space or a control"),
        ("https://exa\tmple.com", "space or a control"),
        ("https://example.com/\r\nX: y", "space or a control"),
        ("https://example.com/\x7f", "space or a control"),
        ("https://example.com/ü", "not ASCII"),
        ("https://example.com/#a", "fragment"),
        ("https://user:word@example.com/", "user name"),
        ("https://1.1.1.1\\@127.0.0.1/", "user name"),
        ("https://", "needs a host"),
        ("https:///path", "needs a host"),
        ("https://:443/", "needs a host"),
        ("https://example.com:/", "needs a host"),
        ("https://example.com:x/", "needs a host"),
        ("https://[::1/", "needs a host"),
        ("https://[::1]x/", "needs a host"),
        ("https://[fe80::1%25eth0]/", "needs a host"),
        ("https://::1/", "needs a host"),
        ("https://example.com:0/", "between 1 and 65535"),
        ("https://example.com:65536/", "between 1 and 65535"),
        ("https://exa\\mple.com/", "not a host name"),
        ("https://example..com/", "not a host name"),
        ("https://example.com./", "not a host name"),
        ("https://-a.com/", "not a host name"),
        ("https://exa%6dple.com/", "not a host name"),
        ("https://" + "a" * 64 + ".com/", "not a host name"),
        ("https://" + "a." * 126 + "com/", "not a host name"),
        ("https://straße.example/", "xn--"),
        ("https://①②⑦.0.0.1/", "xn--"),
        ("https://127。0。0。1/", "xn--"),
        ("https://" + "ü" * 64 + ".com/", "xn--"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, why: str) -> None:
    with pytest.raises(BadWebhook, match=why):
        check_url(url, PUBLIC_ONLY)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8443", "a.localhost", "metadata", "metadata.google.internal", "x.internal"]
)
def test_names_of_the_machine_and_of_its_network_are_refused(host: str) -> None:
    with pytest.raises(BadWebhook, match="not a public name"):
        check_url(f"https://{host}/", PUBLIC_ONLY)


PRIVATE = """
127.0.0.1 127.1.2.3 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200 168.63.129.16
192.0.0.192 192.88.99.1 198.18.0.1 192.0.2.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1
::127.0.0.1 ::ffff:127.0.0.1 ::ffff:a9fe:a9fe ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::169.254.169.254 64:ff9b:1::1
2002:7f00:1:: 2001:0:5ef5:79fb:0:59d:a0a0:fefe 2001:db8::1 3fff::1 fe80::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 100::1
5f00::1
""".split()  # noqa: SIM905


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(BadWebhook, match="not a public address"):
        check_url(f"https://{host}/", PUBLIC_ONLY)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "192.0.1.1", "100.128.0.1"])
def test_a_public_address_is_not(address: str) -> None:
    assert PUBLIC_ONLY.allow(ip_address(address))


OTHER_SPELLINGS = """
2130706433 0x7f000001 0x7f.1 0X7F.1 127.1 0177.0.0.1 127.0.0.01 017700000001 1.2.3.4.5 256.1.1.1 0x a.b.0x7f
""".split()  # noqa: SIM905


@pytest.mark.parametrize("host", OTHER_SPELLINGS)
def test_an_address_in_another_spelling_is_refused_as_such(host: str) -> None:
    with pytest.raises(BadWebhook, match="write four decimal numbers"):
        check_url(f"https://{host}/", parse_networks("0.0.0.0/0"))


def test_what_the_operator_allows_may_be_private_and_without_tls() -> None:
    networks = parse_networks(" 10.0.0.0/8,127.0.0.1, fd00::/8 ,")
    for url in ("http://127.0.0.1:5001/x", "https://10.1.2.3/", "http://[fd00::1]/", "https://[::ffff:127.0.0.1]/"):
        check_url(url, networks)
    for url in ("http://127.0.0.2/", "https://192.168.0.1/", "https://[fe80::1]/", "http://8.8.8.8/", "http://name.example/"):
        with pytest.raises(BadWebhook):
            check_url(url, networks)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "example.com", "10.0.0.0/8 127.0.0.1"])
def test_invalid_networks_are_reported(text: str) -> None:
    with pytest.raises(ValueError, match="separated by commas"):
        parse_networks(text)


def test_host_header_names_a_nonstandard_port() -> None:
    hosts = {
        url: check_url(url, PUBLIC_ONLY).authority for url in ("https://a.com", "https://a.com:80", "https://[2606:4700::1]:444")
    }
    assert list(hosts.values()) == ["a.com", "a.com:80", "[2606:4700::1]:444"]


def test_a_delivery_is_tried_ten_times_over_three_days() -> None:
    made = [next_delay(attempts) for attempts in range(12)]
    assert made == [0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400, None, None]
    assert sum(DELAYS) > 3 * 86_400
