"""Doctests of what needs numba or torch are collected where that is; a plugin is loaded, not collected."""

import importlib.util

collect_ignore = ["tests/webassembly.py"]
NEEDING = {"numba": "duonet/compiled/[a-z]*.py", "torch": "duonet/interop/torch_layers.py"}
collect_ignore_glob = [files for package, files in NEEDING.items() if not importlib.util.find_spec(package)]
