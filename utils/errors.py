"""The exceptions that a user sees as one line."""


class UserError(Exception):
    """Bad input, told to the user in one line (an argument a line), never as a traceback."""

    status = 2  # of the process


class Refused(UserError):
    """What the system refuses: a full disk, a read-only folder, a file that cannot be read."""

    status = 1


class Waiting(Exception):
    """No error: the run waits for a person, and one line says for what."""

    status = 3  # of the process
