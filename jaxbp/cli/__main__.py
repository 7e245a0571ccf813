"""``python -m jaxbp.cli``: the command `jaxbp` of this interpreter."""

import sys

from jaxbp.cli import main

if __name__ == "__main__":
    sys.exit(main())
