"""The bundle that predicts: from the registry to the object that scores.

Which version that is to be is decided in `wafer_assets.operations.champion`.
"""

from typing import TYPE_CHECKING

from resources.mlflow import CHAMPION, BundleUnusableError, BundleVersion, LineTracking

if TYPE_CHECKING:
    from wafer_assets.domain.scoring import Bundle


class NoChampionError(LookupError):
    """No bundle was promoted yet."""

    code = "no_champion"

    def __init__(self, line: str = "") -> None:
        of = f" --line {line}" if line else ""
        super().__init__(
            f"No model is champion yet. Train one with `wafer train{of}`; `wafer models list{of}` shows why none was "
            "promoted."
        )


def load_champion(tracking: LineTracking) -> "tuple[BundleVersion, Bundle]":
    """Return the champion and its bundle; whoever scores with it sees this one version only.

    Raises
    ------
    NoChampionError
        No version was promoted yet.
    BundleUnusableError
        Its file is missing, damaged, or not the one that was registered.
    NewerFormat
        A newer version of the platform wrote it.
    """
    version = champion_of(tracking)
    return version, load_bundle(tracking, version)


def champion_of(tracking: LineTracking) -> BundleVersion:
    """Return the version that predicts.

    Raises
    ------
    NoChampionError
        No version was promoted yet.
    """
    version = tracking.version(CHAMPION)
    if version is None:
        raise NoChampionError
    return version


def load_bundle(tracking: LineTracking, version: BundleVersion) -> "Bundle":
    """Return the bundle of a version.

    Raises
    ------
    BundleUnusableError
        Its file is missing, damaged, or not the one that was registered.
    NewerFormat
        A newer version of the platform wrote it.
    """
    return bundle_of(version, tracking.content_of(version))


def bundle_of(version: BundleVersion, content: bytes) -> "Bundle":
    """Return the bundle in the file of a version.

    Raises
    ------
    BundleUnusableError, NewerFormat
        The content cannot be used.
    """
    from wafer_assets.domain.persistence import NotAnObject, UntrustedObject, load
    from wafer_assets.domain.scoring import Bundle

    try:
        bundle = load(content)
    except NotAnObject as error:
        raise BundleUnusableError(version, "is damaged") from error
    except UntrustedObject as error:
        raise BundleUnusableError(version, "asks for types that are not the platform's") from error
    if not isinstance(bundle, Bundle):
        raise BundleUnusableError(version, "holds something else than a bundle")
    return bundle
