"""From the registry to the object that scores: the champion's bundle, or an error that says what to do."""

from collections.abc import Callable
from uuid import uuid4

import dagster as dg
import pytest

from resources.champion import NoChampionError, load_bundle, load_champion
from resources.mlflow import CHAMPION, BundleUnusableError, BundleVersion, LineTracking
from tests.assets.test_predictions import bundle_bytes
from wafer_assets.domain.persistence import dump
from wafer_assets.settings import Settings


@pytest.fixture
def tracking(platform_settings: Settings) -> LineTracking:
    return LineTracking(platform_settings, "secom")


def register(tracking: LineTracking, content: bytes) -> BundleVersion:
    with tracking.run(dg.DagsterRun(job_name="secom__train", run_id=str(uuid4()))) as run:
        return tracking.register_bundle(run, content, sensors=["Sensor-1"], tags={})


def test_before_the_first_promotion_there_is_no_champion(tracking: LineTracking) -> None:
    register(tracking, bundle_bytes(0))
    with pytest.raises(NoChampionError, match="wafer train") as error:
        load_champion(tracking)
    assert error.value.code == "no_champion"


def test_the_champion_is_loaded_whatever_was_registered_since(tracking: LineTracking) -> None:
    first, second = register(tracking, bundle_bytes(0)), register(tracking, bundle_bytes(1))
    tracking.set_alias(CHAMPION, first)
    version, bundle = load_champion(tracking)
    assert version.version == first.version
    assert bundle.model.config.seed == 0
    assert load_bundle(tracking, second).model.config.seed == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: bundle_bytes(0)[:5_000], id="damaged"),
        pytest.param(lambda: b"", id="empty"),
        pytest.param(lambda: dump({"a": "mapping"}), id="something else"),
    ],
)
def test_a_file_that_holds_no_bundle_is_unusable(tracking: LineTracking, content: Callable[[], bytes]) -> None:
    version = register(tracking, content())
    with pytest.raises(BundleUnusableError, match=f"version {version.version}"):
        load_bundle(tracking, version)
