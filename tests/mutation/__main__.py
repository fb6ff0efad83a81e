"""mutmut with the settings of this folder: python -m tests.mutation run|show|results ...

mutmut itself reads only pyproject.toml and setup.cfg."""

from mutmut import configuration

from tests.mutation.settings import SETTINGS

configuration._config_reader = lambda: SETTINGS.get

if __name__ == "__main__":
    from mutmut.__main__ import cli

    cli()
