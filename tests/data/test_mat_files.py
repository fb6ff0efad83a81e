"""Files of MATLAB, as many versions of it wrote them: those that come with scipy's own tests."""

from pathlib import Path

import pytest
import scipy.io

from data.mat_files import LEVEL_5, load_mat

FOLDER = Path(scipy.io.matlab.__file__).parent / "tests" / "data"


def is_level_5(path):
    try:
        return scipy.io.matlab.matfile_version(path)[0] == LEVEL_5
    except ValueError:
        return False


FILES = sorted(filter(is_level_5, FOLDER.glob("*.mat")))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="scipy is installed without its tests")


def load(read, path):
    """The names of the variables, or None if the file is refused."""
    try:
        return sorted(read(path))
    except Exception:  # scipy raises several kinds, zlib.error among them
        return None


def test_there_are_files_of_every_kind():
    """Cells, structures, sparse matrices, objects, functions and text, compressed and not."""
    names = " ".join(path.name for path in FILES)
    for kind in ("cell", "struct", "sparse", "object", "func", "string", "complex", "single"):
        assert kind in names
    starts = {path.read_bytes()[128] for path in FILES}
    assert {14, 15} <= starts  # a matrix, and a compressed element, in little-endian files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")  # scipy warns of names that occur twice
def test_a_file_is_read_if_and_only_if_scipy_reads_it(path):
    assert load(load_mat, path) == load(scipy.io.loadmat, path)
