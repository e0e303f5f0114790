"""The bundle that predicts, and the batches that wait for it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from resources.mlflow import CHAMPION, BundleUnusableError, BundleVersion, Tracking
from resources.mongo import BatchManifest
from resources.predictions import ScoredBatch

if TYPE_CHECKING:
    from wafer_assets.domain.scoring import Bundle


class NoChampionError(LookupError):
    """No bundle was promoted yet."""

    code = "no_champion"

    def __init__(self) -> None:
        super().__init__(
            "No model is champion yet. Train one with `wafer train`; `wafer models list` shows why none was promoted."
        )


def load_champion(tracking: Tracking) -> "tuple[BundleVersion, Bundle]":
    """Return the champion and its bundle; whoever scores with it sees this one version only.

    Raises
    ------
    NoChampionError
    BundleUnusableError
        Its file is missing or damaged.
    """
    version = tracking.version(CHAMPION)
    if version is None:
        raise NoChampionError
    return version, load_bundle(tracking, version)


def load_bundle(tracking: Tracking, version: BundleVersion) -> "Bundle":
    """Return the bundle of a version.

    Raises
    ------
    BundleUnusableError
        Its file is missing or damaged.
    """
    from wafer_assets.domain.persistence import NotAnObject, UntrustedObject, load
    from wafer_assets.domain.scoring import Bundle

    try:
        bundle = load(tracking.content_of(version))
    except (NotAnObject, UntrustedObject) as error:
        raise BundleUnusableError(version) from error
    if not isinstance(bundle, Bundle):
        raise BundleUnusableError(version)
    return bundle


def waiting_batches(accepted: Iterable[BatchManifest], scored: Mapping[str, ScoredBatch]) -> list[str]:
    """Return the accepted batches whose present content no bundle has scored."""
    return [item.batch for item in accepted if item.batch not in scored or scored[item.batch].sha256 != item.sha256]
