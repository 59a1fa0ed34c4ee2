"""Doctests of numba and torch are collected where the package is; several workers share the tests by files."""

import importlib.util
import os
import sys
from pathlib import Path

collect_ignore = ["tests/webassembly.py"]
NEEDING = {"numba": "duonet/compiled/[a-z]*.py", "torch": "duonet/interop/torch_layers.py"}
collect_ignore_glob = [files for package, files in NEEDING.items() if not importlib.util.find_spec(package)]

# Files that take longest, longest first: workers that begin with them end together.
LONGEST = """
    experiments/test_training.py test_cli.py experiments/test_mismatch.py test_gpu.py test_checkpoint.py
    tutorials/test_assignments.py experiments/test_compare.py tutorials/test_build.py mismatch/test_estimators.py
    functional/test_ops.py experiments/test_saved.py experiments/test_scoring.py experiments/test_studies.py
    experiments/test_figures.py tutorials/test_cheats.py test_costs.py gpu/test_sources.py
""".split()
RANKS = {Path(__file__).parent / "tests" / name: rank for rank, name in enumerate(LONGEST)}


def pytest_configure(config):
    """Give each of several workers whole files, so that what the tests of a file share is made once.

    Bytecode is kept, whatever the machine prefers: otherwise every process of a test compiles the package anew.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if config.getoption("dist", "no") == "load":  # what pytest -n asks for
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """Put the longest files in front of the others for several workers."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: RANKS.get(item.path, len(RANKS)))
