"""Run the command line as `python -m duonet`."""

import sys

from duonet.cli import main

sys.exit(main())
