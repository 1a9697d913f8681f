"""An ApiClient of the official package says where to connect, and as whom; what cannot be carried over is refused."""

import ssl

import kubernetes.client
import pytest

from kontinue.client import Client, SyncClient
from kontinue.errors import ConfigError
from kontinue.kube.official_client import read_api_client


def api_client(**options):
    options.setdefault("proxy", "")  # whatever the environment of the tests says
    return kubernetes.client.ApiClient(kubernetes.client.Configuration(host="https://kube:6443/", **options))


def test_server_certificates_and_names_are_taken_over(tmp_path):
    """Files are read at once: the package may have written them for a while only."""
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"PEM of {name}")
    files = {"ssl_ca_cert": "ca", "cert_file": "cert", "key_file": "key"}
    given = api_client(tls_server_name="other", **{key: str(tmp_path / name) for key, name in files.items()})
    found = read_api_client(given, "team")
    assert found.impersonate == ""
    config = found.config
    assert (config.server, config.namespace, config.tls_server_name) == ("https://kube:6443", "team", "other")
    assert (config.ca_data, config.client_cert_data, config.client_key_data) == (
        "PEM of ca",
        "PEM of cert",
        "PEM of key",
    )
    assert not config.insecure
    assert read_api_client(api_client(verify_ssl=False), "n").config.insecure


def test_authorities_may_be_given_as_data():
    """Text, or the bytes of one certificate."""
    assert read_api_client(api_client(ca_cert_data="PEM"), "n").config.ca_data == "PEM"
    assert read_api_client(api_client(ca_cert_data=b"DER"), "n").config.ca_data == ssl.DER_cert_to_PEM_cert(b"DER")


@pytest.mark.parametrize("header", ["Bearer first", "bearer first", "first"])
def test_the_token_is_asked_for_again_by_the_hook_of_the_configuration(header):
    """As after a 401, or when it is about to expire; in a pod the package writes 'bearer'."""
    given = api_client(api_key={"BearerToken": header})
    source = read_api_client(given, "n").config.token_source
    assert source is not None
    assert source() == "first"

    def refresh(configuration):
        configuration.api_key["BearerToken"] = "Bearer second"

    given.configuration.refresh_api_key_hook = refresh
    assert source() == "second"


def test_the_user_to_act_as_is_taken_over():
    """Other headers that say who asks are not: nobody would notice what is missing."""
    given = api_client()
    given.set_default_header("Impersonate-User", "ada")
    given.set_default_header("X-Whatever", "1")
    assert read_api_client(given, "n").impersonate == "ada"
    given.set_default_header("Impersonate-Group", "admins")
    with pytest.raises(ConfigError, match="sends the header Impersonate-Group, which cannot be taken over"):
        read_api_client(given, "n")


@pytest.mark.parametrize("no_proxy", ["", "example.com", "be"])
def test_a_proxy_is_refused_without_its_password(no_proxy):
    """And what to do about it."""
    with pytest.raises(ConfigError, match=r"through the proxy http://proxy:3128, and proxies are not.*NO_PROXY"):
        read_api_client(api_client(proxy="http://me:secret@proxy:3128", no_proxy=no_proxy), "n")


@pytest.mark.parametrize("no_proxy", ["kube", "a, kube:6443", "*", ".kube"])
def test_a_server_that_is_reached_directly_needs_no_proxy(no_proxy):
    """The package would not use it, either."""
    assert read_api_client(api_client(proxy="http://proxy", no_proxy=no_proxy), "n").config.server


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"username": "ada", "password": "x"}, "basic authentication is not supported"),
        ({"assert_hostname": False}, "assert_hostname=False is not supported"),
        ({"ssl_ca_cert": "/no/such/file"}, "No such file or directory: '/no/such/file'"),
    ],
)
def test_what_cannot_be_done_is_refused(options, problem):
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=problem):
        Client.from_kube(api_client(**options), "n")


def test_a_transport_is_no_api_client(transport):
    """It belongs to the loop that uses it; the synchronous client has a loop of its own."""
    with pytest.raises(TypeError, match=r"takes a kubernetes\.client\.ApiClient, got ScriptedTransport"):
        SyncClient.from_kube(transport, "n")
