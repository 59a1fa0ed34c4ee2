"""Doctests of numba and torch are collected where the package is; several workers share the tests by stretches."""

import importlib.util

collect_ignore = ["tests/webassembly.py"]
NEEDING = {"numba": "duonet/compiled/[a-z]*.py", "torch": "duonet/interop/torch_layers.py"}
collect_ignore_glob = [files for package, files in NEEDING.items() if not importlib.util.find_spec(package)]


def pytest_configure(config):
    """Give several workers stretches of tests, so that one of them makes what the tests of a file share."""
    if config.getoption("dist", "no") == "load":  # what pytest -n asks for
        config.option.dist = "worksteal"
