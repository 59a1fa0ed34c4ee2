"""Doctests of `duonet.compiled` are collected where numba is installed; a plugin is loaded, not collected."""

import importlib.util

collect_ignore = ["tests/webassembly.py"]
collect_ignore_glob = [] if importlib.util.find_spec("numba") else ["duonet/compiled/[a-z]*.py"]
