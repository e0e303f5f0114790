"""The commands: parse, call, print."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import boto3
import click

from deploy.infra import passwords
from deploy.infra.certificates import certificates_of
from deploy.infra.cluster import reached
from deploy.infra.drift import differences
from deploy.infra.environment import Environment, InfraError, sign_in
from deploy.infra.leftovers import Leftover, leftovers
from deploy.infra.rendering import CERTIFICATES, ENVIRONMENTS, render
from deploy.infra.stacks import Stack, variables
from deploy.infra.state import delete_state, make_state
from deploy.infra.teardown import destroy, losses, sleep

DRIFTED, LEFT = 2, 3
"""Exit statuses: something differs from the code; something is left."""


class _Name(click.ParamType[Environment]):
    name = "environment"

    def convert(self, value: object, _param: click.Parameter | None, _ctx: click.Context | None) -> Environment:
        return value if isinstance(value, Environment) else Environment.read(str(value))


ENVIRONMENT = click.argument("environment", type=_Name(), metavar="ENVIRONMENT")
YES = click.option("--yes", is_flag=True, help="Do not ask; for machines.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Make, watch and destroy an environment: a file of deploy/terraform/environments, such as dev or production.

    From an empty account: `state`, `apply`, `secrets`; once the image is in the registry, `databases`. Back to nothing:
    `destroy`. Each may be repeated.
    """


@main.command()
@ENVIRONMENT
def state(environment: Environment) -> None:
    """Make the bucket of Terraform's state; safe to repeat."""
    new = make_state(sign_in(environment), environment)
    click.echo(f"{environment.state_bucket} {'is made' if new else 'was there'}: private, versioned, encrypted.")


@main.command()
@ENVIRONMENT
def plan(environment: Environment) -> None:
    """Show what `apply` would change."""
    sign_in(environment)
    _each(environment, "plan", [])


@main.command()
@ENVIRONMENT
@YES
def apply(environment: Environment, *, yes: bool) -> None:
    """Make everything in AWS and Atlas, then the cluster's base, then render. The first time takes about 40 minutes.

    Where the environment's file says `awake = false`, the cluster is drained and taken away, and databases are stopped.
    """
    session = sign_in(environment)
    if not environment.awake:
        cloud = Stack(environment, "cloud")
        cloud.init()
        sleep(environment, session)
    _each(environment, "apply", ["-auto-approve"] if yes else [])
    _render(environment, ENVIRONMENTS)


@main.command()
@ENVIRONMENT
def drift(environment: Environment) -> None:
    """Tell what is not as the code says: nothing is locked, nothing is changed. Ends with 2 where something differs."""
    sign_in(environment)
    found = differences(environment)
    for difference in found:
        click.echo(f"{difference.stack:<6} {difference.actions:<14} {difference.address}")
    click.echo(f"{len(found)} differences in {environment.name}.", err=True)
    sys.exit(DRIFTED if found else 0)


@main.command(name="render")
@ENVIRONMENT
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=ENVIRONMENTS, show_default=True)
def render_command(environment: Environment, out: Path) -> None:
    """Write what Terraform made into deploy/environments, where Helm and kustomize read it; commit it."""
    sign_in(environment)
    Stack(environment, "cloud").init()
    _render(environment, out)


@main.command(name="secrets")
@ENVIRONMENT
@click.option("--replace", multiple=True, metavar="NAME", help="Give this one another value although it has one.")
@click.option("--answers", type=click.File(), help="JSON object with the answers, or - for the standard input.")
def secrets_command(environment: Environment, replace: tuple[str, ...], answers: TextIO | None) -> None:
    """Give every secret without a value one; asks for what only you know, and shows nothing.

    The keys of the answers are the questions: "OIDC client id", "OIDC client secret", "Apprise addresses of
    notifications, as a JSON list".
    """
    session = sign_in(environment)
    given: dict[str, str] = json.load(answers) if answers else {}

    def ask(question: str, hidden: bool) -> str:
        return (
            given[question]
            if question in given
            else str(click.prompt(question, hide_input=hidden, default="", show_default=False))
        )

    filled = passwords.fill(session, _outputs(environment)["secrets"], ask, frozenset(replace))
    for name, new in filled.items():
        click.echo(f"{environment.full_name}/{name}: {'filled' if new else 'has a value, which stays'}")


@main.command()
@ENVIRONMENT
@click.option("--tag", required=True, help="Tag of an image that is in the registry.")
def databases(environment: Environment, tag: str) -> None:
    """Make Dagster's and MLflow's roles and databases, in a pod, for PostgreSQL is reached from the cluster alone."""
    session = sign_in(environment)
    outputs = _outputs(environment)
    facts = outputs["secrets"]
    master = passwords.value(session, facts["master_secret"])
    mlflow = passwords.value(session, facts["names"]["mlflow"])["backend-store-uri"]
    given = {
        "master": {
            "host": facts["postgresql"],
            "user": master["username"],
            "password": master["password"],
            "sslmode": "verify-full",
        },
        "certificates": certificates_of(environment.region, ENVIRONMENTS / environment.name / CERTIFICATES),
        "passwords": {
            "dagster": passwords.value(session, facts["names"]["postgresql"])["password"],
            "mlflow": urlsplit(mlflow).password,
        },
    }
    script = Path(__file__).with_name("databases.py").read_text()
    image = f"{outputs['environment']['REPOSITORY']}:{tag}"
    pod = ["-n", "default", "run", "wafer-databases", "--rm", "-i", "--quiet", "--restart=Never", f"--image={image}"]
    pod.append("--pod-running-timeout=10m")  # a node may have to come first
    with reached(environment) as kubectl:
        done = subprocess.run(
            [*kubectl, *pod, "--", "python", "-c", script], input=json.dumps(given), text=True, check=False
        )
    if done.returncode:
        raise InfraError(f"The pod failed: see above. Is {image} in the registry?")


@main.command(name="sweep")
@ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def sweep(environment: Environment, *, as_json: bool) -> None:
    """List what is in the account's region, service by service. Ends with 3 if any of it is the environment's."""
    found = leftovers(sign_in(environment), environment, {environment.state_bucket})
    if as_json:
        click.echo(json.dumps([vars(item) for item in found], indent=2))
    else:
        _tell(environment, found)
    sys.exit(LEFT if any(item.ours for item in found) else 0)


@main.command(name="destroy")
@ENVIRONMENT
@click.option("--confirm", metavar="NAME", help="The environment's full name, instead of a question; for machines.")
@click.option("--snapshot/--no-snapshot", default=None, help="Keep a last backup of PostgreSQL, and Atlas' backups.")
@click.option("--skip-drain", is_flag=True, help="The cluster does not answer any more: leave it unasked.")
def destroy_command(environment: Environment, confirm: str | None, snapshot: bool | None, *, skip_drain: bool) -> None:
    """Destroy it: name what is lost, ask, offer a last backup, drain, empty, destroy, list what is left."""
    session = sign_in(environment)
    lost = losses(session, environment, _outputs(environment))
    click.echo("This will be lost:")
    for words in lost.words:
        click.echo(f"  {words}")
    full_name = environment.full_name
    if (confirm or click.prompt(f"Write {full_name} to destroy it")) != full_name:
        raise InfraError("That was not its name: nothing was changed.")
    if snapshot is None:
        snapshot = confirm is None and click.confirm(
            "Keep a last backup of PostgreSQL, and Atlas' backups?", default=True
        )
    name = f"{full_name}-final-{datetime.now(UTC):%Y%m%d%H%M}" if snapshot else None
    found = destroy(session, environment, lost.buckets, name, skip_drain=skip_drain)
    _finish(session, environment, found, name)


def _finish(session: boto3.Session, environment: Environment, found: list[Leftover], snapshot: str | None) -> None:
    if snapshot:
        click.echo(
            f"Kept: PostgreSQL's snapshot {snapshot}, and Atlas' project {environment.full_name} with its backups."
        )
        click.echo("They cost money until you delete them; the project's name stays taken until then.")
    _tell(environment, found)
    if any(item.ours for item in found):
        click.echo(
            f"The state {environment.state_bucket} stays until nothing is left. Repeat this command then.", err=True
        )
        sys.exit(LEFT)
    delete_state(session, environment)
    click.echo(f"{environment.full_name} is destroyed, and its state with it.")


def _tell(environment: Environment, found: list[Leftover]) -> None:
    ours, others = [item for item in found if item.ours], [item for item in found if not item.ours]
    for title, items in ((f"Left of {environment.full_name}", ours), ("Nobody's by name: look whose it is", others)):
        click.echo(f"{title}: {len(items) or 'nothing'}")
        for item in items:
            click.echo(f"  {item.service:<24} {item.name}  {item.detail}".rstrip())


def _outputs(environment: Environment) -> dict[str, Any]:
    cloud = Stack(environment, "cloud")
    cloud.init()
    return cloud.outputs()


def _each(environment: Environment, command: str, options: list[str]) -> None:
    cloud = Stack(environment, "cloud")
    for name in ("cloud", "base") if environment.awake else ("cloud",):
        stack = Stack(environment, name)
        stack.init()
        if name == "base" and command == "plan" and not cloud.outputs().get("base", {}).get("cluster"):
            click.echo("There is no cluster yet: what comes into it is planned after the first apply.")
            continue
        with variables(environment, cloud, name) as arguments:
            stack.run(command, *options, *arguments)


def _render(environment: Environment, folder: Path) -> None:
    facts = Stack(environment, "cloud").outputs().get("environment")
    if not facts:
        raise InfraError(f"{environment.name} is not there yet: `make apply ENV={environment.name}`.")
    certificates = certificates_of(environment.region, folder / environment.name / CERTIFICATES)
    click.echo(f"Written: {render(environment.name, facts, certificates, folder)}")


if __name__ == "__main__":
    main()
