"""The PDF of a deck by reportlab, one slide a page; a slide that does not fit its page is refused."""

import html
import io
from pathlib import Path

import matplotlib
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from reportlab.lib.colors import HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Image, Paragraph, Preformatted, Table

WIDTH, HEIGHT, EDGE, GAP = 960, 540, 48, 12  # points
ACROSS = WIDTH - 2 * EDGE
FOOT = 44  # points at the bottom, for the source and the number
LEAST = 170  # points: a figure that is less high cannot be read from the last row
FONTS = {"Sans": "DejaVuSans", "Bold": "DejaVuSans-Bold", "Italic": "DejaVuSans-Oblique", "Mono": "DejaVuSansMono"}
BLUE = HexColor("#1a3f6f")
TEXT = ParagraphStyle("text", fontName="Sans", fontSize=23, leading=31, textColor=HexColor("#222222"))
ITEM = ParagraphStyle("item", parent=TEXT, leftIndent=32, bulletIndent=4, bulletFontName="Sans", bulletFontSize=23)
CELL = ParagraphStyle("cell", parent=TEXT, fontSize=20, leading=26)
HEAD = ParagraphStyle("head", parent=CELL, fontName="Bold", textColor=BLUE)
CODE = ParagraphStyle("code", parent=TEXT, fontName="Mono", fontSize=18, leading=24)
SOURCE = ParagraphStyle("source", parent=TEXT, fontSize=12, leading=14, textColor=HexColor("#666666"))
HEADINGS = {
    "h1": ParagraphStyle("h1", parent=TEXT, fontName="Bold", fontSize=38, leading=60, textColor=BLUE),
    "h2": ParagraphStyle("h2", parent=TEXT, fontName="Bold", fontSize=29, leading=38, textColor=BLUE),
}


def register():
    """Register matplotlib's DejaVu fonts, which have the course's formulas as characters."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name, file in FONTS.items():
        pdfmetrics.registerFont(TTFont(name, folder / f"{file}.ttf"))
    pdfmetrics.registerFontFamily("Sans", "Sans", "Bold", "Italic", "Bold")


def markup(node):
    """Return the inside of a paragraph as reportlab's markup."""
    inner = "".join(map(markup, node.children))
    match node.type:
        case "text":
            return html.escape(node.content)
        case "code_inline":
            return f'<font name="Mono" size="-3">{html.escape(node.content)}</font>'
        case "softbreak":
            return " "
        case "strong":
            return f"<b>{inner}</b>"
        case "em":
            return f"<i>{inner}</i>"
        case "inline":
            return inner
    raise ValueError(f"a paragraph cannot hold a {node.type}")


def paragraph(node, drawn):
    """Return a paragraph, the source of a slide in its own style, or the figure that a paragraph consists of."""
    parts = node.children[0].children
    if parts[0].type == "image":
        return Image(io.BytesIO(drawn[parts[0].attrs["src"].removeprefix("build/")]), lazy=0)
    return Paragraph(markup(node.children[0]), SOURCE if [part.type for part in parts] == ["em"] else TEXT)


def table(node):
    """Return a table whose columns share the width as their longest cells need it."""
    rows = [row for part in node.children for row in part.children]
    cells = [
        [Paragraph(markup(cell.children[0]), HEAD if cell.type == "th" else CELL) for cell in row.children]
        for row in rows
    ]
    longest = [
        max(pdfmetrics.stringWidth(cell.getPlainText(), "Bold", CELL.fontSize) for cell in column) + 24
        for column in zip(*cells)
    ]
    share = min(1, ACROSS / sum(longest))
    style = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("LINEBELOW", (0, 0), (-1, 0), 1, BLUE)]
    return Table(cells, colWidths=[share * width for width in longest], hAlign="LEFT", style=style)


def blocks(node, drawn):
    """Return what a part of a slide becomes."""
    match node.type:
        case "heading":
            return [Paragraph(markup(node.children[0]), HEADINGS[node.tag])]
        case "paragraph":
            return [paragraph(node, drawn)]
        case "bullet_list" | "ordered_list":
            marks = ["•" if node.type == "bullet_list" else f"{i}." for i in range(1, len(node.children) + 1)]
            texts = [markup(item.children[0].children[0]) for item in node.children]
            return [Paragraph(text, ITEM, bulletText=mark) for text, mark in zip(texts, marks)]
        case "fence":
            return [Preformatted(node.content.rstrip(), CODE)]
        case "table":
            return [table(node)]
    raise ValueError(f"a slide cannot hold a {node.type}")


def fit(found, room):
    """Size the figure to the room that the text leaves; return every block's height; refuse what does not fit."""
    heights = [0 if isinstance(block, Image) else block.wrap(ACROSS, room)[1] for block in found]
    left = room - sum(heights) - GAP * (len(found) - 1)
    for i, block in enumerate(found):
        if isinstance(block, Image):
            scale = min(ACROSS / block.imageWidth, left / block.imageHeight)
            block.drawWidth, block.drawHeight = scale * block.imageWidth, scale * block.imageHeight
            heights[i] = block.drawHeight
            if block.drawHeight < min(LEAST, ACROSS / block.imageWidth * block.imageHeight):
                raise ValueError(f"the text leaves {left:.0f} points of height for the figure")
        elif block.minWidth() > ACROSS:
            raise ValueError(f"{block.minWidth() - ACROSS:.0f} points too wide")
    if left < 0:
        raise ValueError(f"{-left:.0f} points too high")
    return heights


def page(canvas, source, drawn):
    """Draw one slide."""
    if lost := {c for c in source if c != "\n" and ord(c) not in pdfmetrics.getFont("Sans").face.charToGlyph}:
        raise ValueError(f"the fonts have no {' '.join(sorted(lost))}")
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(source))
    found = [block for node in tree.children for block in blocks(node, drawn)]
    if getattr(found[-1], "style", None) is SOURCE:
        last = found.pop()
        last.wrap(ACROSS - 60, FOOT)
        last.drawOn(canvas, EDGE, FOOT / 2)
    top = HEIGHT - EDGE + 8
    for block, height in zip(found, fit(found, top - FOOT)):
        canvas.saveState()
        block.wrapOn(canvas, ACROSS, height)
        indent = (ACROSS - block.drawWidth) / 2 if isinstance(block, Image) else 0
        block.drawOn(canvas, EDGE + indent, top - height)
        canvas.restoreState()
        top -= height + GAP
    canvas.setFont("Sans", 12)
    canvas.drawRightString(WIDTH - EDGE, FOOT / 2, str(canvas.getPageNumber()))
    canvas.showPage()


def write(title, sources, drawn, target):
    """Write the slides into a PDF; raise ValueError, and write nothing, where one does not fit its page.

    Parameters
    ----------
    title : str
        The title of the document.
    sources : sequence of str
        The Markdown of each slide.
    drawn : dict
        The PNG of each figure, by its name.
    target : path or binary file
        Where the PDF goes.
    """
    register()
    canvas = Canvas(target if hasattr(target, "write") else str(target), pagesize=(WIDTH, HEIGHT), invariant=1)
    canvas.setTitle(title)
    for number, source in enumerate(sources, 1):
        try:
            page(canvas, source, drawn)
        except ValueError as error:
            raise ValueError(f"{title}: slide {number}: {error}") from error
    canvas.save()
