"""Configuration of Sphinx; ``build_site.py`` collects the pages that it reads."""

from __future__ import annotations

import importlib.metadata

project = "shiqbench"
author = "The shiqbench authors"
version = release = importlib.metadata.version("shiqbench")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

myst_heading_anchors = 6  # with the anchors of code hosts; a link to one that is missing is a warning
suppress_warnings = ["myst.header"]  # pages of results begin their tables where a report does

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

smartquotes = False  # `--data` in a text stays as it is typed

html_theme = "furo"
html_title = f"shiqbench {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
copybutton_exclude = ".linenos, .gp, .go"
