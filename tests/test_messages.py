"""The wording of every sentence for users, in one file, so that a change of words is one diff."""

from tests import messages


def test_the_wording_is_that_of_the_snapshot():
    assert messages.FILE.read_text() == messages.render_messages(), "run `make docs`"
