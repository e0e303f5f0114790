"""Text from outside as text: names and reasons that others wrote, where something would read them as more.

The terminal's is `wafer_assets.cli.console`, HTML's is the templates' own escaping, and a batch's ids and columns are
held to the contract, which lets none begin like a spreadsheet's formula.
"""

import re

# Marks that mean something anywhere, or at the beginning of a line.
_ANYWHERE = re.compile(r"([\\`*_\[\]<>&!#|~])")
_AT_FIRST = re.compile(r"^(\d*)([-+=.)])")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, on one line: no link, no image, no HTML.

    Parameters
    ----------
    text : str
        Whatever somebody wrote.

    Returns
    -------
    str
        With a backslash before every mark that could mean something [1]_.

    References
    ----------
    .. [1] CommonMark 0.31.2, section 2.4, "Backslash escapes".
    """
    escaped = _ANYWHERE.sub(r"\\\1", " ".join(text.split()))
    return _AT_FIRST.sub(r"\1\\\2", escaped)


def unescaped(markdown: str) -> str:
    """Return the text that a line of `markdown` shows.

    Parameters
    ----------
    markdown : str
        What `markdown` returned.

    Returns
    -------
    str
        Without the backslashes.
    """
    return _ESCAPED.sub(r"\1", markdown)
