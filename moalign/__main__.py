"""`python -m moalign` is `moalign`; also what `accelerate launch -m moalign train METHOD ...` starts."""

import sys

from moalign.cli import main

if __name__ == "__main__":
    sys.exit(main())
