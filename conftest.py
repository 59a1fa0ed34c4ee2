"""Doctests of `duonet.compiled` are collected where numba is installed."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("numba") else ["duonet/compiled/[a-z]*.py"]
