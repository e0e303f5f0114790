import numpy as np
import pandas as pd
import pytest

from wafer_assets.domain.clustering import MAX_ROWS, Clusterer, elbow, plane
from wafer_assets.domain.preprocessing import WrongSensors


def wafers(groups: int, rows: int = 400, apart: float = 2.0, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Features of wafers in groups of falling size, with the group of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, apart, size=(groups, 40))
    weights = np.arange(groups, 0, -1) / np.arange(groups, 0, -1).sum()
    group = rng.choice(groups, size=rows, p=weights)
    values = (centres[group] + rng.normal(size=(rows, 40))).astype(np.float32)
    return pd.DataFrame(values, columns=[f"Sensor-{i}" for i in range(40)]), group


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_elbow_finds_how_many_groups_there_are(groups: int) -> None:
    found = elbow(wafers(groups)[0])

    assert (found.k, found.is_knee) == (groups, True)
    assert found.ks == tuple(range(1, 11))
    assert all(left > right for left, right in zip(found.inertias, found.inertias[1:], strict=False))


def test_without_groups_there_is_no_elbow_and_the_fallback_is_used() -> None:
    found = elbow(wafers(1)[0], fallback=2)

    assert (found.k, found.is_knee) == (2, False)


def test_clusters_are_the_groups_numbered_by_size() -> None:
    features, group = wafers(3)

    np.testing.assert_array_equal(Clusterer(3).fit(features).predict(features), group)


def test_a_wafer_keeps_its_cluster_when_it_comes_alone() -> None:
    features, _ = wafers(3)
    clusterer = Clusterer(3).fit(features)

    assert [clusterer.predict(features.iloc[[i]])[0] for i in range(20)] == list(clusterer.predict(features)[:20])


def test_missing_readings_do_not_make_clusters() -> None:
    features, group = wafers(2)
    features["Sensor-0 missing"] = np.random.default_rng(1).choice([-50, 50], len(features)).astype(np.float32)

    np.testing.assert_array_equal(Clusterer(2).fit(features).predict(features), group)


def test_large_tables_are_sampled_and_every_wafer_still_gets_its_cluster() -> None:
    features, group = wafers(3, rows=MAX_ROWS + 5_000)

    assert elbow(features).k == 3
    np.testing.assert_array_equal(Clusterer(3).fit(features).predict(features), group)


def test_fewer_wafers_than_clusters_is_no_error() -> None:
    features = wafers(1, rows=3)[0]

    assert elbow(features).k == 2
    assert len(Clusterer(5).fit(features).centers_) == 3


def test_a_few_wafers_are_not_cut_into_clusters_of_three() -> None:
    for seed in range(5):
        noise = pd.DataFrame(np.random.default_rng(seed).normal(size=(40, 3)), columns=list("abc"))

        assert elbow(noise).ks == (1, 2, 3, 4)


def test_wafers_that_are_all_the_same_are_one_cluster() -> None:
    for rows in (1, 40):
        same = pd.DataFrame(np.zeros((rows, 3)), columns=list("abc"))

        assert elbow(same).k == 1
        assert Clusterer(2).fit(same).predict(same).tolist() == [0] * rows


def test_other_features_are_refused() -> None:
    features, _ = wafers(2)

    with pytest.raises(WrongSensors, match="Sensor-3"):
        Clusterer(2).fit(features).predict(features.drop(columns="Sensor-3"))


def test_one_component_is_drawn_on_a_line() -> None:
    feed = np.array([[1.0], [2.0]], dtype=np.float32)
    np.testing.assert_array_equal(plane(feed), np.array([[1, 0], [2, 0]], dtype=np.float32))
