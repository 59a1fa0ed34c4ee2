"""Plain text: tables, and words from elsewhere."""


def aligned(rows):
    """Lay rows of words out in columns: the first to the left, the others to the right, a rule under the header.

    Parameters
    ----------
    rows : list of sequence of str
        The header first.

    Returns
    -------
    str

    Examples
    --------
    >>> print(aligned([("layer", "cosine"), ("conv1", "0.9")]))
    layer  cosine
    -------------
    conv1     0.9
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0])] + [word.rjust(width) for word, width in zip(rest, widths[1:])]
        lines.append("  ".join(cells))
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def printable(text, limit=400):
    r"""Make words from elsewhere fit for a terminal: one line, and nothing that it would obey.

    Parameters
    ----------
    text : str
    limit : int
        Characters to keep.

    Returns
    -------
    str

    Examples
    --------
    >>> print(printable("404\x1b[2J Not\n Found"))
    404?[2J Not Found
    """
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= limit else f"{line[:limit]}..."
