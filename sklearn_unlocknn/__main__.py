"""``python -m sklearn_unlocknn`` is the command ``unlocknn``."""

import sys

from ._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
