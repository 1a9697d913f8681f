"""The API server is found in the order that users are told, and errors list what was tried."""

import base64
import json
import os

import pytest
import yaml

from kontinue.errors import ConfigError
from kontinue.kube import config
from kontinue.kube.config import load_config


def kubeconfig(path, server, *, context="c", user=None, cluster=None, namespace=None):
    """Write a kubeconfig with one context."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = {"cluster": "k", "user": "u"} | ({"namespace": namespace} if namespace else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": "k", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": [{"name": context, "context": chosen}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def home(tmp_path):
    """An environment with an empty home."""
    return {"HOME": str(tmp_path / "home")}


def test_a_user_without_a_home_has_no_default_context(tmp_path, monkeypatch):
    """As in a container whose user the image does not know, and whose runtime sets no HOME."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    named = kubeconfig(tmp_path / "a", "http://a")
    assert load_config(kubeconfig=named, environ={}).server == "http://a"
    with pytest.raises(ConfigError, match=r"~/\.kube/config: no such file"):
        load_config(environ={}, start_dir=tmp_path)


def test_a_named_kubeconfig_beats_everything(tmp_path, home):
    """``--kubeconfig`` wins over KUBECONFIG."""
    named = kubeconfig(tmp_path / "a", "http://a")
    other = kubeconfig(tmp_path / "b", "http://b")
    found = load_config(kubeconfig=named, environ={**home, "KUBECONFIG": str(other)})
    assert (found.server, found.token, found.namespace) == ("http://a", "t", "default")


def test_kubeconfig_variable_beats_home(tmp_path, home):
    """KUBECONFIG comes before ``~/.kube/config``."""
    kubeconfig(tmp_path / "home/.kube/config", "http://home")
    variable = kubeconfig(tmp_path / "b", "http://b", namespace="ns")
    found = load_config(environ={**home, "KUBECONFIG": str(variable)}, start_dir=tmp_path)
    assert (found.server, found.namespace) == ("http://b", "ns")
    assert load_config(environ=home, start_dir=tmp_path).server == "http://home"


@pytest.mark.parametrize("namespace", ["No_NS", "a.b", "-a", "a" * 64])
def test_what_cannot_name_a_namespace_is_refused_before_anybody_is_asked(namespace, tmp_path, home):
    """The message says what can."""
    path = kubeconfig(tmp_path / "a", "http://a")
    with pytest.raises(ConfigError, match=r"cannot be the name of a namespace: those are DNS labels, a-z, 0-9 and '-'"):
        load_config(kubeconfig=path, namespace=namespace, environ=home)


def test_namespace_argument_overrides_the_context(tmp_path, home):
    """``-n`` wins."""
    path = kubeconfig(tmp_path / "a", "http://a", namespace="ns")
    assert load_config(kubeconfig=path, namespace="mine", environ=home).namespace == "mine"


def test_files_of_kubeconfig_variable_are_merged(tmp_path, home):
    """The first file that sets the current context wins; entries come from any of them."""
    first = kubeconfig(tmp_path / "a", "http://a", context="one")
    second = kubeconfig(tmp_path / "b", "http://b", context="two")
    environ = {**home, "KUBECONFIG": f"{first}:{second}"}
    assert load_config(environ=environ).server == "http://a"
    # Both files name their cluster k: the first definition counts, as in kubectl.
    assert load_config(context="two", environ=environ).server == "http://a"


def test_unknown_context_lists_those_that_exist(tmp_path, home):
    """The error names the file and the choices."""
    path = kubeconfig(tmp_path / "a", "http://a", context="dev")
    with pytest.raises(ConfigError, match=r"no context named 'prod'; there are: dev"):
        load_config(kubeconfig=path, context="prod", environ=home)


def test_credentials_may_stand_in_files_beside_the_kubeconfig(tmp_path, home):
    """Relative paths start at the kubeconfig; inline data wins over files."""
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "ca.pem").write_text("CA")
    user = {"tokenFile": "token", "client-certificate-data": base64.b64encode(b"CERT").decode()}
    path = kubeconfig(tmp_path / "a", "https://a/", user=user, cluster={"certificate-authority": "ca.pem"})
    found = load_config(kubeconfig=path, environ=home)
    assert (found.server, found.token, found.ca_data, found.client_cert_data) == ("https://a", "secret", "CA", "CERT")
    (tmp_path / "token").write_text("newer")
    assert found.token_source is not None
    assert found.token_source() == "newer"


def test_in_cluster_reads_the_service_account(tmp_path, home, monkeypatch):
    """Token, namespace and CA come from the mounted folder; IPv6 addresses get brackets."""
    for name, text in {"token": "tok\n", "namespace": "prod", "ca.crt": "CA"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(config, "SERVICE_ACCOUNT_DIR", tmp_path)
    environ = {**home, "KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = load_config(environ=environ, start_dir=tmp_path)
    assert (found.server, found.namespace, found.token) == ("https://[fd00::1]:6443", "prod", "tok")


def test_a_living_dev_is_waited_for_while_its_server_restarts(tmp_path, home):
    """A command must not go to the cluster of the home directory instead; a dev that is gone is passed over."""
    kubeconfig(tmp_path / "home/.kube/config", "http://production")
    kubeconfig(tmp_path / ".kontinue/kubeconfig", "http://127.0.0.1:9")
    (tmp_path / ".kontinue/dev.json").write_text(json.dumps({"dev_pid": os.getpid()}))
    assert load_config(environ=home, start_dir=tmp_path).server == "http://127.0.0.1:9"
    (tmp_path / ".kontinue/dev.json").unlink()
    assert load_config(environ=home, start_dir=tmp_path).server == "http://production"


def test_the_secret_path_of_a_local_server_is_not_told(tmp_path, home):
    """Only where it should have answered."""
    kubeconfig(tmp_path / ".kontinue/kubeconfig", "http://127.0.0.1:9/t0ken")
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:9 does not answer") as caught:
        load_config(environ=home, start_dir=tmp_path)
    assert "t0ken" not in str(caught.value)


def test_nothing_found_lists_what_was_tried(tmp_path, home):
    """Every place is named, and what to do."""
    with pytest.raises(ConfigError) as caught:
        load_config(environ=home, start_dir=tmp_path)
    message = str(caught.value)
    for place in ("KUBECONFIG", ".kontinue/kubeconfig", "KUBERNETES_SERVICE_HOST", ".kube/config", "kontinue dev"):
        assert place in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "cannot be read as a kubeconfig"),
        ("{", "cannot be read as a kubeconfig"),
        ("clusters: 7", r"\$\.clusters"),
        ("{}", "no current-context"),
        ("{current-context: a, contexts: [{name: a, context: {cluster: x}}]}", "no cluster named 'x'"),
    ],
)
def test_unusable_kubeconfig_says_what_is_wrong(tmp_path, home, text, message):
    """The message names the file and the field."""
    path = tmp_path / "a"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(kubeconfig=path, environ=home)
    assert str(path) in str(caught.value)


def test_missing_kubeconfig_is_an_error_not_a_fallback(tmp_path, home):
    """Who names a file does not want another one."""
    kubeconfig(tmp_path / "home/.kube/config", "http://home")
    with pytest.raises(ConfigError, match=r"^kubeconfig: no such file: .*none$"):
        load_config(kubeconfig=tmp_path / "none", environ=home)


def test_a_context_without_a_kubeconfig_says_where_it_was_looked_for(tmp_path, home):
    """Not in that of a ``kontinue dev``, which has one context only and is found without."""
    dev = kubeconfig(tmp_path / ".kontinue/kubeconfig", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"^context 'foo': no such file: .*\.kube/config\. KUBECONFIG or") as caught:
        load_config(context="foo", environ=home, start_dir=tmp_path / "below")
    assert str(caught.value).endswith(f"; without a context the server of kontinue dev is used ({dev})")
    dev.unlink()
    with pytest.raises(ConfigError, match=r"names another one$"):
        load_config(context="foo", environ=home, start_dir=tmp_path)


def test_a_proxy_is_refused_rather_than_bypassed(tmp_path, home):
    """A kubeconfig that asks for one would otherwise lead to a connection that its author did not want."""
    path = kubeconfig(tmp_path / "a", "http://a", cluster={"proxy-url": "http://proxy"})
    with pytest.raises(ConfigError, match="proxies are not supported"):
        load_config(kubeconfig=path, environ=home)


def test_who_acts_as_somebody_else_has_no_rights_of_his_own(tmp_path, home):
    """A kubeconfig that lowers its rights by ``as`` would otherwise have all of them, and nobody would be told."""
    user = {
        "token": "t",
        "as": "bob",
        "as-uid": "7",
        "as-groups": ["view", "team: a"],
        "as-user-extra": {"example.org/scopes%": ["read", "list"]},
    }
    found = load_config(kubeconfig=kubeconfig(tmp_path / "a", "http://a", user=user), environ=home)
    assert found.impersonation == (
        ("Impersonate-User", "bob"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "view"),
        ("Impersonate-Group", "team: a"),
        ("Impersonate-Extra-example.org%2Fscopes%25", "read"),
        ("Impersonate-Extra-example.org%2Fscopes%25", "list"),
    )
    assert load_config(kubeconfig=kubeconfig(tmp_path / "b", "http://b"), environ=home).impersonation == ()


def test_a_plugin_may_get_the_credentials_of_who_acts_as_somebody_else(tmp_path, home):
    """The official client, which runs it, knows nothing of ``as``."""
    pytest.importorskip("kubernetes")
    status = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}
    plugin = {"apiVersion": status["apiVersion"], "command": "echo", "args": [json.dumps(status)]}
    plugin["interactiveMode"] = "Never"
    path = kubeconfig(tmp_path / "a", "http://a", user={"exec": plugin, "as": "bob"})
    found = load_config(kubeconfig=path, environ=home)
    assert (found.token, found.impersonation) == ("t", (("Impersonate-User", "bob"),))


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"token": "t", "as-groups": ["view"]}, "user 'u' says as which uid, groups or extra to act, but not as which"),
        (
            {"username": "ada", "password": "secret"},
            "user 'u' has a username and password: basic authentication is not",
        ),
    ],
)
def test_what_a_user_of_a_kubeconfig_cannot_have_is_refused(user, message, tmp_path, home):
    """He would be somebody else for the server: the one who has the token, or nobody."""
    path = kubeconfig(tmp_path / "a", "http://a", user=user)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(kubeconfig=path, environ=home)
    assert "secret" not in str(caught.value)


def test_the_address_of_a_server_shows_no_secret():
    """The local server's token stands in the path of its URL."""
    assert config.KubeConfig(server="http://127.0.0.1:6470/secret-token").address == "http://127.0.0.1:6470"
    assert config.KubeConfig(server="https://user:password@host/x").address == "https://host"


def test_what_is_shown_of_a_config_has_no_secret():
    """It gets into logs, into tracebacks with the values of variables, and into what a test prints that fails."""
    found = config.KubeConfig(
        server="http://127.0.0.1:6470/SECRET", namespace="shop", token="SECRET", client_key_data="SECRET", source="dev"
    )
    assert repr(found) == "KubeConfig(server='http://127.0.0.1:6470', namespace='shop', source='dev')"
    assert dict(found.__rich_repr__()) == {"server": "http://127.0.0.1:6470", "namespace": "shop", "source": "dev"}
