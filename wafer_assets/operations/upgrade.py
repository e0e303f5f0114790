"""Bringing what an earlier version of the platform stored up to date, done again where it was cut short.

Layout 1 knew one line: its feeds were called lines, and nothing carried a line's name. All that it stored becomes the
shipped line's. Dagster's history names assets that are gone, so it begins anew: what landed is taken up again, and
finds its outcome there.
"""

from collections.abc import Iterator
from pathlib import Path

from resources.mlflow import Tracking
from resources.mongo import MongoStore
from resources.s3 import S3Store
from schemas.lines import FEEDS
from wafer_assets.settings import Settings
from wafer_assets.settings.layout import end_upgrade

FIRST_LINE = "secom"
"""The line of all that layout 1 stored."""


class _Documents(MongoStore):
    """The documents of layout 1 become those of the line."""

    def upgrade(self) -> int:
        """Return the number of batches that were named anew."""
        there = set(self._database.list_collection_names())
        for former, name in [*((f"{kind}_wafers", f"{kind}_wafers") for kind in FEEDS), ("predictions", "predictions")]:
            if former in there:
                self._database[former].rename(f"{FIRST_LINE}_{name}")
        count = 0
        for collection in ("batches", "failed_batches"):
            for document in list(self._database[collection].find({"feed": {"$exists": False}})):
                kind, _, batch = document["_id"].partition("/")
                renamed = {**document, "_id": f"{FIRST_LINE}/{kind}/{batch}", "line": FIRST_LINE, "feed": kind}
                if "key" in renamed:
                    renamed["key"] = f"{FIRST_LINE}/{renamed['key']}"
                self._replace(collection, document["_id"], renamed)
                count += collection == "batches"
        for document in list(self._database["scored_batches"].find({"line": {"$exists": False}})):
            renamed = {**document, "_id": f"{FIRST_LINE}/{document['batch']}", "line": FIRST_LINE}
            renamed |= {key: f"{FIRST_LINE}/{document[key]}" for key in ("csv", "report")}
            renamed["model"] = f"{document['model']}-{FIRST_LINE}"
            self._replace("scored_batches", document["_id"], renamed)
        return count

    def rename_model(self, former: str, name: str) -> None:
        """Let the decisions on a registered model be decisions on one of another name."""
        self._database["promotions"].update_many({"model": former}, {"$set": {"model": name}})

    def _replace(self, collection: str, former: str, document: dict[str, object]) -> None:
        # The new one first: cut short, both are there and the former is replaced again.
        self._database[collection].replace_one({"_id": document["_id"]}, document, upsert=True)
        self._database[collection].delete_one({"_id": former})


def upgrade(settings: Settings) -> Iterator[str]:
    """Bring the stores of layout 1 up to date, on running services; yield what was done, in words.

    Parameters
    ----------
    settings
        Of the services, which run in a folder of which `begin_upgrade` said that there is something to do.
    """
    s3 = S3Store(settings)
    landed = sum(_moved(s3, s3.landing, f"{kind}/") for kind in FEEDS)
    yield f"{landed} files in the landing bucket are in {FIRST_LINE}/ now"
    kept = sum(_moved(s3, s3.lake, f"{kind}/") for kind in FEEDS)
    for item in s3.list_objects(s3.lake, "runs/"):
        s3.delete(s3.lake, item.key)
    yield f"{kept} objects in the lake are in {FIRST_LINE}/ now"
    documents = _Documents(settings)
    yield f"{documents.upgrade()} batches in MongoDB belong to the line {FIRST_LINE} now"
    tracking = Tracking(settings)
    registered = tracking.adopt(FIRST_LINE)
    documents.rename_model(settings.mlflow.model_name, settings.mlflow.of(FIRST_LINE).model_name)
    yield f"{registered} versions of the model, with all decisions on them, are the line's"
    if (former := _put_aside(settings.state_dir / "dagster")) is not None:
        yield f"Dagster's history begins anew; the former one is kept in {former}"
    end_upgrade(settings.state_dir)


def _moved(s3: S3Store, bucket: str, prefix: str) -> int:
    """Move the objects under a prefix below the line's; return how many."""
    objects = s3.list_objects(bucket, prefix)
    for item in objects:
        s3.copy(bucket, item.key, bucket, f"{FIRST_LINE}/{item.key}")
        s3.delete(bucket, item.key)
    return len(objects)


def _put_aside(home: Path) -> Path | None:
    if not home.is_dir():
        return None
    aside = home.with_name("dagster.layout1")
    home.rename(aside)
    return aside
