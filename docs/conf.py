"""How the site is built: `pip install -e ".[docs]" && sphinx-build -W docs build/site`, without network."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy.typing as npt
from sphinx.util.typing import stringify_annotation

import duonet
from duonet.backend import Array

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import play  # noqa: E402

TUTORIALS = HERE.parent / "tutorials"

project = "duonet"
author = "the duonet authors"
version = release = duonet.__version__
html_theme = "furo"
html_title = f"duonet {version}"
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinxarg.ext"]
# MathJax from the package sphinx-mathjax-offline, which serves it from the site itself. Without it the site builds
# as well, and shows the TeX source of its formulas where there is no network.
if importlib.util.find_spec("sphinx-mathjax-offline"):
    extensions.append("sphinx-mathjax-offline")

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.domains"
]  # sphinx-argparse's domain cannot be searched by bare links; nothing here needs it
exclude_patterns = ["instructor/slides"]  # decks, which make_slides.py builds
nb_execution_mode = "off"  # the notebooks are executed when they are built, and once more by CI

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "py:obj"

# The notebooks: copied, so that the site is one tree.
(HERE / "tutorials").mkdir(exist_ok=True)
for notebook in TUTORIALS.glob("*.ipynb"):
    shutil.copy(notebook, HERE / "tutorials")


def escape_bars(app, what, name, thing, options, lines):
    """Keep |x| an absolute value: to reStructuredText it is a substitution."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = line.strip() != "" and (in_example or line.lstrip().startswith(">>>"))
        if not in_example:
            lines[i] = line.replace("|", r"\|")


def name_types(app, what, name, thing, options, signature, returned):
    """Show the names of array types, where NumPy's aliases stand for half a line."""
    for alias, short in ((npt.ArrayLike, "ArrayLike"), (Array, "Array")):
        long = stringify_annotation(alias, "smart")
        signature, returned = (text and text.replace(long, short) for text in (signature, returned))
    return signature, returned


def add_play(app, page, template, context, tree):
    """Give the page Play its tables, and what draws them; inside the page, since a file may fetch no other."""
    if page == "play":
        tables = json.dumps(play.tables(), ensure_ascii=False, separators=(",", ":"))
        app.add_js_file(None, body=tables, type="application/json", id="play-tables")
        app.add_css_file("uplot/uPlot.min.css")
        app.add_js_file("uplot/uPlot.iife.min.js")
        app.add_js_file("play.js")


def setup(app):
    """Connect what is above."""
    app.connect("html-page-context", add_play)
    app.connect("autodoc-process-signature", name_types)
    app.connect("autodoc-process-docstring", escape_bars)
