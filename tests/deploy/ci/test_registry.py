"""Places for images: what is a place, and what a folder of images holds. tests/delivery pushes to real ones."""

import shutil

import click
import pytest

from deploy.ci.registry import Registry


@pytest.mark.parametrize(
    "place", ["registry/x", "docker://host", "docker://host/name:tag", "oci:a:b", "docker://h/-;rm"]
)
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(click.BadParameter, match=r"docker://HOST/NAME or oci:FOLDER"):
        Registry(place)


@pytest.mark.skipif(not shutil.which("skopeo"), reason="Skopeo is not installed")
def test_a_registry_that_does_not_answer_is_not_an_empty_one() -> None:
    with pytest.raises(click.ClickException, match="does not say whether it has tag"):
        Registry("docker://127.0.0.1:1/wafer-fault-platform").digest("tag")


def test_a_folder_that_is_not_there_holds_nothing() -> None:
    assert Registry("oci:/nonexistent").digest("tag") is None
