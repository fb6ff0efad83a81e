"""Features are centred and scaled: an offset or a unit changes nothing, and all columns count."""

import numpy as np
import pytest
import torch

from al_methods import select
from data.feature_scale import DOMINANT_SHARE, fit_feature_scale
from data.feature_vectors import FeatureStore
from utils.errors import UserError

ROWS = np.random.default_rng(0).integers(0, 17, (200, 6)).astype(np.float32)


def scaled(rows):
    features = torch.from_numpy(np.asarray(rows, np.float32))
    return fit_feature_scale(features, "the file").apply(features).numpy()


@pytest.mark.parametrize("change", [lambda x: x + 1000, lambda x: x + 100_000, lambda x: x * 1e-20,
                                    lambda x: x * 4096])  # fmt: skip
def test_offset_and_unit_change_nothing(change):
    np.testing.assert_allclose(scaled(change(ROWS)), scaled(ROWS), rtol=1e-5, atol=1e-6)


def test_the_total_variance_is_one_and_a_column_of_ones_is_added():
    result = scaled(ROWS)
    assert result.shape == (200, 7) and (result[:, -1] == 1).all()
    np.testing.assert_allclose(result[:, :-1].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(result[:, :-1].var(axis=0).sum(), 1, rtol=1e-5)
    ratios = result[:, :-1].std(axis=0) / ROWS.std(axis=0)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)  # relative scales stay


def test_where_one_column_dominates_all_columns_count_the_same():
    rows = ROWS * np.array([1, 1, 1, 1, 1, 100], np.float32)
    assert rows.var(axis=0).max() > DOMINANT_SHARE * rows.var(axis=0).sum()
    result = scaled(rows)
    np.testing.assert_allclose(result[:, :-1].std(axis=0), 6**-0.5, rtol=1e-5)


def test_constant_columns_become_zero():
    rows = np.column_stack([ROWS, np.full(200, 1e6), np.full(200, 0.1), np.zeros(200)])
    assert (scaled(rows)[:, 6:9] == 0).all()


def test_constant_features_are_refused():
    with pytest.raises(UserError, match=r"all 200 training rows .* the same"):
        fit_feature_scale(torch.full((200, 3), 0.1), "the file")


def test_batches_are_scaled_and_the_stored_rows_stay():
    features = torch.from_numpy(ROWS + 1000)
    scale = fit_feature_scale(features, "the file")
    store = FeatureStore(features, scale).subset(np.arange(50, 200))
    expected = scale.apply(features).numpy()
    np.testing.assert_array_equal(store.plain_batch(np.array([3, 0])), expected[[53, 50]])
    np.testing.assert_array_equal(store.plain_batch(slice(0, 5)), expected[50:55])
    assert (features.numpy() == ROWS + 1000).all()


@pytest.mark.parametrize("change", [lambda x: x + 1000, lambda x: x + 10_000, lambda x: x * 2.0**70,
                                    lambda x: x * 2.0**-70])  # fmt: skip
def test_coreset_picks_the_same_whatever_the_offset_or_unit(change):
    rows = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    rows = np.round(rows * 256) / 256  # exact with the offset, too
    labels = np.full(400, -1)
    labels[0] = 0
    picks = [
        select("coreset", features=x.astype(np.float32), labels=labels, budget=20, rng=None)
        for x in (rows, change(rows))
    ]
    np.testing.assert_array_equal(*picks)
