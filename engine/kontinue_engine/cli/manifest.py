"""Internal. ``kontinue manifest module:app --image X``: the YAML that runs a worker group, on stdout.

Asks no server and imports no module: the App is in the image, and the same words print the same everywhere, also where
what the App needs is not installed. So it cannot know the App's group. What it prints is made by
``kontinue_engine.cli.deployment.workload``; the rights that its pods need come from ``kontinue install``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from kontinue.naming import is_dns_label
from kontinue_engine.cli.deployment import workload
from kontinue_engine.cli.deployment.rights import WORKER_ACCOUNT
from kontinue_engine.cli.deployment.stamps import as_yaml
from kontinue_engine.cli.options import global_options, note
from kontinue_engine.runner import loader
from kontinue_engine.worker.options import parse_options


def command(
    ctx: typer.Context,
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the App is in the image, e.g. app:app.")],
    image: Annotated[str, typer.Option(help="Image with kontinue and your code.")],
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="Further options of `kontinue worker run`.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of all objects. Default: --group, or the module's.")] = "",
    group: Annotated[str, typer.Option(help="Worker group. Default: the App's.")] = "",
    replicas: Annotated[int, typer.Option(min=0)] = 2,
    sharding: Annotated[bool, typer.Option(help="Share the group's Executions; else one replica runs all.")] = True,  # noqa: FBT002
    app_dir: Annotated[str, typer.Option(help="Folder of the image to import from. Default: where it starts.")] = "",
    grace: Annotated[int, typer.Option(min=0, metavar="SECONDS", help="How long work may go on at SIGTERM.")] = 20,
    cpu: Annotated[str, typer.Option(help="Request of each replica.")] = "500m",
    memory: Annotated[str, typer.Option(help="Limit of each replica.")] = "1Gi",
    env: Annotated[list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="Any number of them.")] = None,
    pull_secret: Annotated[list[str] | None, typer.Option(help="Secret with credentials for the image.")] = None,
    service_account: Annotated[str, typer.Option(help="Of the pods; `kontinue install` makes this one.")] = (
        WORKER_ACCOUNT
    ),
) -> None:
    """Print what runs a worker group: kontinue manifest app:app --image X | kubectl apply -n NAMESPACE -f -."""
    options = global_options(ctx)
    _check(app, name, image)
    _quantity(cpu, "--cpu", "500m or 2")
    if _quantity(memory, "--memory", "1Gi or 512Mi") < workload.LEAST_MEMORY_BYTES:
        raise typer.BadParameter(
            f"{memory} is too little: a replica needs 256Mi for itself, and what is beyond that is for your code",
            param_hint="--memory",
        )
    found = workload.Workload(
        app=app,
        image=image,
        name=name or workload.name_for(app, group),
        namespace=options.namespace or "",
        group=group,
        app_dir=app_dir,
        replicas=replicas,
        sharding=sharding,
        grace_s=grace,
        cpu=cpu,
        memory=memory,
        env=_variables(env or []),
        pull_secrets=pull_secret or [],
        service_account=service_account,
        extra_args=extra or [],
    )
    parse_options(workload.worker_arguments(found)[2:])  # leaves with its own message
    print(as_yaml(workload.objects(found)))
    if not (name or group):
        told = f"everything is named {found.name!r}, after the module, and takes the place of what is named so"
        note(options, f"{told}: --name NAME keeps apps of one namespace apart")
    if service_account == WORKER_ACCOUNT:
        where = options.namespace or "NAMESPACE"
        note(options, f"its pods run as ServiceAccount {WORKER_ACCOUNT}, which `kontinue install -n {where}` creates")


def _check(app: str, name: str, image: str) -> None:
    module, colon, attribute = app.partition(":")
    if not (module.strip() and colon and attribute.strip()):
        raise typer.BadParameter(f"{app!r}: write it as module:app, for example app:app", param_hint="MODULE:APP")
    try:
        loader.check_name(module, attribute)
    except loader.LoadError as error:
        raise typer.BadParameter(error.message, param_hint="MODULE:APP") from error
    if image.split() != [image]:
        raise typer.BadParameter(f"{image!r} is no name of an image", param_hint="--image")
    if name and not (is_dns_label(name) and len(name) <= workload.MAX_NAME_LENGTH):
        raise typer.BadParameter(
            f"{name!r}: a-z, 0-9 and '-' inside, at most {workload.MAX_NAME_LENGTH} characters", param_hint="--name"
        )


def _quantity(text: str, option: str, examples: str) -> float:
    if (found := workload.quantity(text)) is None:
        raise typer.BadParameter(f"{text!r}: write it as {examples}", param_hint=option)
    return found


def _variables(words: list[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise typer.BadParameter(f"{name!r}: write it as NAME=VALUE", param_hint="--env")
    return {name: value for name, _, value in pairs}
