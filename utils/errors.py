"""The exceptions that a user sees as one line."""


class UserError(Exception):
    """Bad input, reported in one line per argument of the exception, never as a traceback."""

    exit_code = 2  # of the process


class SystemRefusal(UserError):
    """The system refuses something: a full disk, a read-only folder, an unreadable file."""

    exit_code = 1


class WaitingForLabels(Exception):
    """Not an error: the run stops until a person has labeled images; one line says which."""

    exit_code = 3
