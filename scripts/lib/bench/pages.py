"""What the pages of figures have in common."""

import json
import sys


def row(cells):
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def write(page):
    """Makes a page, by `page`, of the figures in the file that the first argument names, and writes it to the second."""
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        figures = json.load(file)
    with open(target, "w", encoding="utf-8") as file:
        file.write(page(figures))
