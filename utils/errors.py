"""The one exception that stands for a mistake of the user's."""


class UserError(Exception):
    """Bad input, told to the user in one line (exit status 2), never as a traceback."""
