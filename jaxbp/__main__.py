"""`python -m jaxbp` is the command `jaxbp`."""

import sys

from jaxbp.cli import main

if __name__ == "__main__":
    sys.exit(main())
