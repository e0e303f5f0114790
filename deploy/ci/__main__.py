"""The commands of the pipeline."""

import click

from deploy.ci import advisories, changes, delivery, leaks, release, smoke


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """From a commit to a cluster: what changed, the image, its place in the delivery repository, and whether it runs.

    All commands print what they found and leave files in build/ for the pipeline to keep.
    """


main.add_command(changes.command)
main.add_command(leaks.command)
main.add_command(advisories.command)
main.add_command(release.command)
main.add_command(delivery.command)
main.add_command(smoke.command)

if __name__ == "__main__":
    main(prog_name="python -m deploy.ci")
