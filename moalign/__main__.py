"""`python -m moalign` is `moalign`; also what `accelerate launch -m moalign train METHOD ...` starts."""

import sys

from moalign.cli import main
from moalign.cli.launch import is_launched, leave

if __name__ == "__main__":
    code = main()
    if is_launched():
        leave(code)
    sys.exit(code)
