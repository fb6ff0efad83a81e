"""A session with skips, a new class, a label tool's export and corrections, killed on the way.

labeling.revised_session has its steps."""

import pytest

from data import DATASETS
from tests.commands.test_main_al import assert_same_run, rows
from tests.labeling.revised_session import NEW_CLASS, play_session


@pytest.fixture(scope="module")
def truth():
    return {str(i): str(label) for i, label in enumerate(DATASETS["digits"].load("")[0].labels)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, start, truth):
    """The folder of the session without a kill, and what its cycles queried."""
    folder = tmp_path_factory.mktemp("revised") / "run"
    return folder, play_session(folder, truth, start, killed=False)


def test_the_session_ends_with_the_right_labels(whole, truth):
    """Skipped images have no label, corrected ones the right one, and nothing is queried twice."""
    folder, cycles = whole
    queried = [line.split() for line in cycles]
    assert [len(indices) for indices in queried] == [6, 6, 6]
    assert len({index for indices in queried for index in indices}) == 18
    acquired = rows(folder / "acquired.csv")
    names = (folder / "classes.txt").read_text().splitlines()
    assert names == [*map(str, range(10)), NEW_CLASS]
    labels = {row["index"]: names[int(row["label"])] for row in acquired}
    scribbles = {queried[1][0], queried[2][0]}
    skipped = set(queried[0][:2])
    expected = {
        index: NEW_CLASS if index in scribbles else truth[index]
        for indices in queried
        for index in indices
        if index not in skipped
    }
    assert labels == expected
    assert [row["labeled"] for row in rows(folder / "results.csv")] == ["4", "10", "16"]
    log = (folder / "log.txt").read_text()
    assert "read 4 human labels, 2 skipped (cannot tell); saved to" in log
    assert f"new classes: {NEW_CLASS} (2 images)" in log
    assert log.count("cycle00.csv was corrected (1 image): going back to cycle 1") == 1
    assert log.count("cycle01.csv was corrected (1 image): going back to cycle 2") == 1
    assert log.count("cycle02.csv was corrected (1 image): going back to cycle 3") == 1


def test_the_killed_session_ends_with_the_same_bytes(tmp_path, whole, start, truth):
    folder = tmp_path / "run"
    assert play_session(folder, truth, start, killed=True) == whole[1]
    assert_same_run(folder, whole[0])
    for path in (whole[0] / "answers").iterdir():
        assert (folder / "answers" / path.name).read_bytes() == path.read_bytes()
    assert not [*folder.glob("queries.*"), *folder.glob(".*.*")]
