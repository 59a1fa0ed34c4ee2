"""How a tool ends: after a wrong setting, a damaged file or Ctrl-C it prints one line."""

import contextlib
import sys

from duonet.cli.words import said


@contextlib.contextmanager
def one_line(tool):
    """Exit with one line that names the tool, where its work would end with a traceback."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(said(error, tool))
    except KeyboardInterrupt:
        sys.exit(f"{tool}: stopped; the same command continues")
