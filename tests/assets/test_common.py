"""What all assets have in common, as people meet it in the UI."""

import base64

import dagster as dg

from schemas.lines import FEEDS
from tests.feeds import LINE
from wafer_assets.assets.common import image, training_input
from wafer_assets.definitions import build_defs
from wafer_assets.domain import plots
from wafer_assets.keys import training_key
from wafer_assets.settings import Settings


def specs() -> list[dg.AssetSpec]:
    repository = build_defs(Settings()).get_repository_def()
    return [spec for asset in repository.assets_defs_by_key.values() for spec in asset.specs]


def test_every_asset_says_what_it_is_who_owns_it_and_where_it_belongs() -> None:
    for spec in specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert list(spec.owners) == [LINE.owner], name
        assert spec.key.path[0] == LINE.name, name
        assert spec.key.path[1] in FEEDS, name
        stages = {"ingestion", "features", "clustering", "models", "prediction"}
        assert spec.group_name in {f"secom_{stage}" for stage in stages}, name


def test_an_input_of_the_training_line_is_its_asset() -> None:
    assert training_input(LINE, "wafer_table").key == training_key("secom", "wafer_table")


def test_a_plot_is_shown_in_the_ui_with_all_its_bytes() -> None:
    png = plots.elbow((1, 2, 3), (9.0, 4.0, 3.0), 2, is_knee=True)
    shown = image(png)
    assert isinstance(shown, dg.MarkdownMetadataValue)
    text = str(shown.value)
    assert text.startswith("![plot](data:image/png;base64,")
    assert base64.b64decode(text.partition("base64,")[2].removesuffix(")")) == png
