"""How `make docs` builds this folder into a site, offline and strictly: a warning is an error."""

import sys
from pathlib import Path
from typing import Any

from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

sys.path.insert(0, str(Path(__file__).parents[1]))

from tp1 import __version__

project = "TP1"
author = "the TP1 authors"
copyright = "the TP1 authors, MIT licence"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "TP1"
html_copy_source = False
html_show_sphinx = False

# Links such as [...](SERVER.md#accounts) go to headings.
myst_heading_anchors = 3
# The reference has every module of tp1/, from its docstrings.
apidoc_modules = [
    {
        "path": "../tp1",
        "destination": "reference/python",
        "separate_modules": True,
        "automodule_options": {"members"},
    }
]
autodoc_mock_imports = ["ray"]  # an extra that the site is built without
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
add_module_names = False
python_maximum_signature_line_length = 100
suppress_warnings = ["ref.python"]  # a class that two modules show has two pages


class OutsideTheSite(SphinxPostTransform):
    """Shows a link to a file that is no page, such as a record, as plain text; a dead link stays an error."""

    default_priority = 5  # before MyST looks for the target

    def run(self, **kwargs: Any) -> None:
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for node in list(self.document.findall(pending_xref)):
            if node["reftype"] == "myst" and (folder / node["reftarget"]).exists():
                node.replace_self(node.children)


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.add_post_transform(OutsideTheSite)
