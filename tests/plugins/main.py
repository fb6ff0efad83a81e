"""main_al.py with one more entry in each registry: python -m tests.plugins.main [OPTION ...]"""

import sys

import main_al
from tests.plugins import ENTRIES, NAME

for registry, entry in ENTRIES:
    registry[NAME] = entry

if __name__ == "__main__":
    sys.exit(main_al.main())
