"""The exceptions that a user sees as one line."""


class UserError(Exception):
    """Bad input, told to the user in one line (an argument a line), never as a traceback."""

    exit_code = 2  # of the process


class SystemRefusal(UserError):
    """What the system refuses: a full disk, a read-only folder, a file that cannot be read."""

    exit_code = 1


class WaitingForLabels(Exception):
    """No error: the run waits for a person, and one line says for what."""

    exit_code = 3  # of the process
