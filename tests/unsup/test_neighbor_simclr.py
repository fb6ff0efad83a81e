"""SimCLR with neighbours as positives: which images the pairs show, and what a few epochs give."""

import numpy as np
import pytest
import torch

from tests.unsup.test_deepcluster import digits
from tests.unsup.test_simclr import arguments, network
from training.network_outputs import extract_outputs
from unsup import neighbor_simclr, simclr
from unsup.neighbor_simclr import NUM_NEIGHBORS, partner_choice, pixel_neighbors


def neighbor_purity(model, images, hidden):
    """Share of the five nearest neighbours, by the network's features, with the image's class."""
    x = extract_outputs(model, images)[0]
    near = (x @ x.T).fill_diagonal_(-1).topk(5).indices.numpy()
    return (hidden[near] == hidden[:, None]).mean()


@pytest.mark.parametrize("count, expected", [(200, NUM_NEIGHBORS), (3, 2), (2, 1)])
def test_neighbors_are_those_of_the_normalised_pixels(count, expected):
    images, _ = digits(count)
    x = images.plain_batch(slice(0, count)).flatten(1)
    cosines = torch.nn.functional.normalize(x.double()).numpy()
    cosines = cosines @ cosines.T
    np.fill_diagonal(cosines, -2)
    assert pixel_neighbors(images).tolist() == np.argsort(-cosines)[:, :expected].tolist()


@pytest.mark.parametrize("progress", [0, 0.3, 1])
def test_partners_are_neighbors_ever_more_rarely(progress):
    neighbors = np.arange(12).reshape(4, 3) + 4  # of the images 0 to 3: 4 to 15
    batch = np.tile([2, 0, 3, 1], 1500)
    partners = partner_choice(neighbors)(batch, np.random.default_rng(0), progress)
    is_own = partners == batch
    assert is_own.mean() == pytest.approx(progress, abs=0.03 * (0 < progress < 1))
    for image in range(4) if progress < 1 else ():
        found = partners[(batch == image) & ~is_own]
        names, counts = np.unique(found, return_counts=True)
        assert names.tolist() == neighbors[image].tolist()
        assert counts / len(found) == pytest.approx(1 / 3, abs=0.07)


def test_few_epochs_are_better_than_those_of_simclr():
    """The classes only evaluate the result."""
    images, hidden = digits(600)
    purities = {simclr: [], neighbor_simclr: []}
    for method, values in purities.items():
        for seed in range(1, 4):
            model = network()
            rows = method.pretrain(model, images, **arguments(epochs=3) | {"seed": seed})
            assert [row["epoch"] for row in rows] == [0, 1, 2]
            values.append(neighbor_purity(model, images, hidden))
    means = {method: np.mean(values) for method, values in purities.items()}
    assert means[neighbor_simclr] > means[simclr] + 0.005
