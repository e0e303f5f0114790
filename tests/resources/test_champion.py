"""From the registry to the object that scores: the champion's bundle, or an error that says what to do."""

from collections.abc import Callable
from uuid import uuid4

import dagster as dg
import pytest

from resources.champion import NoChampionError, load_bundle, load_champion
from resources.mlflow import CHAMPION, BundleUnusableError, BundleVersion, LineTracking
from resources.mlflow.registry import BUNDLE_DIGEST
from resources.promotions import PromotionLog
from resources.s3 import S3Store
from tests.assets.test_predictions import bundle_bytes
from tests.stored import exchange_bundle
from wafer_assets.domain.persistence import dump
from wafer_assets.operations.champion import promote, rollback
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


@pytest.mark.parametrize("what", ["cut in half", "exchanged", "with another byte"])
def test_a_file_that_was_changed_in_the_lake_is_neither_used_nor_promoted_nor_gone_back_to(
    tracking: LineTracking, platform_settings: Settings, what: str
) -> None:
    s3, log = S3Store(platform_settings), PromotionLog(platform_settings)
    old, new = register(tracking, bundle_bytes(0)), register(tracking, bundle_bytes(1))
    promote(tracking, log, old, by="me", reason="by hand", figures={})
    promote(tracking, log, new, by="me", reason="by hand", figures={})
    good = tracking.content_of(old)
    bad = {"cut in half": good[: len(good) // 2], "exchanged": bundle_bytes(1), "with another byte": good + b" "}[what]
    exchange_bundle(tracking, s3, old, bad)

    message = rf"version {old.version} of .* is unusable: .* is not the one that was registered: its SHA-256 is "
    for use in (
        lambda: load_bundle(tracking, old),
        lambda: rollback(tracking, log, by="me", reason="too many alarms"),
        lambda: promote(tracking, log, old, by="me", reason="by hand", figures={}),
    ):
        with pytest.raises(BundleUnusableError, match=message):
            use()
    champion, _ = load_champion(tracking)
    assert champion.version == new.version
    assert [record.version for record in log.history(old.name)] == [old.version, new.version]


def test_a_version_of_before_the_digest_was_kept_is_used(tracking: LineTracking, platform_settings: Settings) -> None:
    from mlflow import MlflowClient

    version = register(tracking, bundle_bytes(0))
    client = MlflowClient(platform_settings.mlflow.tracking_uri)
    client.delete_model_version_tag(version.name, str(version.version), BUNDLE_DIGEST)
    assert load_bundle(tracking, tracking.get_version(version.version)).contract_version == "1.0"
