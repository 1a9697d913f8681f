"""App, include and remote."""

from dataclasses import dataclass
from types import ModuleType

import pytest

from kontinue import App, DefinitionError, ExecutionContext, RetryPolicy, SyncExecutionContext, remote


@dataclass(frozen=True)
class Artifact:
    target: str


def build(target: str) -> Artifact:
    return Artifact(target)


def test_function_registers_bare_and_with_options() -> None:
    """Both forms of the decorator give a definition that the App lists."""
    app = App(group="releases")
    bare = app.function(build)
    named = app.function(name="deploy-service", retry=RetryPolicy(retries=2), limit=4, hidden=True)(build)
    assert dict(app.functions) == {"build": bare, "deploy-service": named}
    assert bare.fn is build
    assert named.defaults.retry == RetryPolicy(retries=2)
    assert (named.limit, named.hidden) == (4, True)
    assert repr(app) == "<App 'releases', 2 functions>"


def test_function_recognises_both_contexts() -> None:
    """Colour and context are read from the signature."""
    app = App(group="releases")

    @app.function
    async def deploy(ctx: ExecutionContext, version: str) -> None: ...

    @app.function
    def nightly(ctx: SyncExecutionContext) -> None: ...

    assert (deploy.takes_context, deploy.is_async) == (True, True)
    assert (nightly.takes_context, nightly.is_async) == (True, False)


def test_functions_are_read_only() -> None:
    """Registration goes through the decorator."""
    with pytest.raises(TypeError):
        App(group="g").functions["x"] = None  # type: ignore[index]


@pytest.mark.parametrize("group", ["", "a.b", "Team", "-a", "x" * 64])
def test_group_must_fit_a_lease_name(group: str) -> None:
    """The error says which names are allowed."""
    with pytest.raises(DefinitionError, match=r"App\(group=.*\): expected lower-case letters, digits and dashes"):
        App(group=group)


def test_two_functions_with_one_object_name_are_refused() -> None:
    """Names that differ in spelling only would be one Function object; both places are named."""
    app = App(group="releases")
    app.function(name="deploy_service")(build)
    with pytest.raises(DefinitionError) as caught:
        app.function(name="deploy-service")(build)
    message = str(caught.value)
    assert "function 'deploy-service': its object name 'deploy-service' is that of function 'deploy_service'" in message
    assert message.count("test_app.py:") == 2
    assert list(app.functions) == ["deploy_service"]


def test_include_adds_functions_now_and_later() -> None:
    """An included App may go on registering."""
    main, part = App(group="releases"), App(group="releases")
    early = part.function(name="early")(build)
    main.include(part)
    late = part.function(name="late")(build)
    assert dict(main.functions) == {"early": early, "late": late}


def test_include_takes_a_module() -> None:
    """The App in it is found, whatever its name."""
    module = ModuleType("builds")
    module.parts = App(group="releases")  # type: ignore[attr-defined]
    definition = module.parts.function(build)
    main = App(group="releases")
    main.include(module)
    assert main.functions["build"] is definition


def test_include_survives_a_circle_and_repetition() -> None:
    """Two modules may include each other."""
    one, two = App(group="g"), App(group="g")
    one.include(two)
    two.include(one)
    one.include(two)
    one.include(one)
    definition = two.function(build)
    assert one.functions["build"] is definition is two.functions["build"]


def test_include_refuses_what_cannot_belong_together() -> None:
    """Another group, a name that is taken, a module without an App."""
    main, part = App(group="releases"), App(group="releases")
    main.function(build)
    part.function(build)
    with pytest.raises(DefinitionError, match="its object name 'build' is that of function 'build'"):
        main.include(part)
    with pytest.raises(DefinitionError, match="App 'releases' cannot include App 'other': an App is one worker group"):
        main.include(App(group="other"))
    with pytest.raises(DefinitionError, match="include: module empty holds no App"):
        main.include(ModuleType("empty"))


def test_remote_is_a_definition_without_an_app() -> None:
    """It encodes calls like any other; its name is the registered one."""

    @remote("run-integration-tests")
    def integration_tests(version: str, *, env: str) -> bool:
        raise NotImplementedError

    assert integration_tests.is_remote
    assert integration_tests.name == "run-integration-tests"
    assert integration_tests.codec.encode_arguments(("1",), {"env": "ci"}) == b'{"env":"ci","version":"1"}'
