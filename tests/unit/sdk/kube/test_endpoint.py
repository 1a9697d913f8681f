"""Server addresses are parsed once, and what cannot be sent is refused before anything is."""

import pytest

from kontinue.errors import ConfigError
from kontinue.kube._endpoint import Endpoint, build_ssl_context, is_target, parse_endpoint
from kontinue.kube.config import KubeConfig


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("http://127.0.0.1:8080", Endpoint("127.0.0.1", 8080, "127.0.0.1:8080", "", "")),
        ("http://localhost/a%20b/", Endpoint("localhost", 80, "localhost", "/a%20b", "")),
        ("https://kube.example/k8s/c1", Endpoint("kube.example", 443, "kube.example", "/k8s/c1", "kube.example")),
        ("https://[fd00::1]:6443", Endpoint("fd00::1", 6443, "[fd00::1]:6443", "", "fd00::1")),
    ],
)
def test_addresses(server, expected):
    """Name or number, with or without port and path."""
    assert parse_endpoint(KubeConfig(server=server)) == expected


def test_the_name_in_the_certificate_may_differ():
    """As kubeconfigs allow; without TLS there is none."""
    assert parse_endpoint(KubeConfig(server="https://10.0.0.1", tls_server_name="kube")).tls_server_name == "kube"
    assert parse_endpoint(KubeConfig(server="http://10.0.0.1", tls_server_name="kube")).tls_server_name == ""


@pytest.mark.parametrize(
    "server",
    [
        "",
        "localhost:8080",
        "ftp://host",
        "https://",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        "http://user:secret@host",
        "http://host/?a=b",
        "http://host/#a",
        "http://host/a b",
        "http://host/ä",
        "http://a..b",
    ],
)
def test_what_is_no_address_is_refused(server):
    """The message names it and where it comes from."""
    with pytest.raises(ConfigError, match=r"^here: .* is no server address"):
        parse_endpoint(KubeConfig(server=server, source="here"))


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/ä", "/a\x00", "/a\x7f"])
def test_a_target_cannot_break_out_of_its_line(target):
    """Builders encode; this is what holds if one forgets."""
    assert not is_target(target)
    assert is_target("/apis/a.b/v1?labelSelector=a%3Db")


@pytest.mark.parametrize("part", ["ca_data", "client_cert_data"])
def test_certificates_that_are_none_are_named(part):
    """The user's configuration is at fault, so that trying again is useless."""
    with pytest.raises(ConfigError, match="here: certificates that cannot be used"):
        build_ssl_context(KubeConfig(server="https://a", source="here", **{part: "no certificate"}))
