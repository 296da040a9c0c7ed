"""python -m blemish: the command line."""

import sys

from blemish.cli.app import main

sys.exit(main())
