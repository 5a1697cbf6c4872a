"""Draws the figures of one run as an SVG: small panels of horizontal bars, one bar a system, always in the same order."""

from xml.sax.saxutils import escape

# Figure, title, better, format, the figure of the tick on the bar (with its name) or None.
PANELS = [
    ("tcp_gbps", "TCP, 1 stream, Gbit/s", "more", "{:.2f}", None),
    ("tcp4_gbps", "TCP, 4 streams, Gbit/s", "more", "{:.2f}", None),
    ("udp64_kpps", "UDP 64 B received under overload, kpps", "more", "{:.0f}", None),
    ("cpu_s_per_gb", "CPU of the whole machine, s/GB", "less", "{:.1f}", None),
    ("ping_avg_us", "ping, average and p99 (tick), µs", "less", "{:.0f}", "ping_p99_us"),
    ("loaded_p99_us", "ping beside a stream, p99, µs", "less", "{:.0f}", None),
]
COLOURS = {"reference": "#b8b8b8", "peer": "#7d93ab", "weft": "#c0492f"}
INK, FAINT, PAPER = "#222222", "#777777", "#ffffff"

MARGIN, GAP = 24, 32
LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 188, 206, 82
PANEL_WIDTH = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH
ROW, BAR = 21, 13
HEAD, TITLE = 62, 26
COLUMNS = 2


def text(x, y, content, size=12, colour=INK, anchor="start", weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(content)}</text>'
    )


def rectangle(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def line(x1, y1, x2, y2, colour, width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def panel(results, systems, x, y, spec):
    """One panel with its upper left corner at x, y."""
    figure, title, better, form, tick = spec
    out = [text(x, y + 12, title, 13, weight="bold"), text(x + PANEL_WIDTH, y + 12, f"{better} is better", 11, FAINT, "end")]
    top = y + TITLE
    zero = x + LABEL_WIDTH
    greatest = max(
        (entry["max"] for s in systems for name in (figure, tick) if (entry := results.get(s["id"], name)) is not None),
        default=0,
    )
    scale = BAR_WIDTH / greatest if greatest else 0
    for index, system in enumerate(systems):
        middle = top + index * ROW + ROW / 2
        weight = "bold" if system["kind"] == "weft" else "normal"
        out.append(text(zero - 8, middle + 4, system["label"], 12, anchor="end", weight=weight))
        entry = results.get(system["id"], figure)
        if entry is None:
            out.append(text(zero + 6, middle + 4, "–", 12, FAINT))
            continue
        end = zero + entry["median"] * scale
        out.append(rectangle(zero, middle - BAR / 2, max(end - zero, 1), BAR, COLOURS[system["kind"]]))
        if entry["max"] > entry["min"]:
            out.append(line(zero + entry["min"] * scale, middle, zero + entry["max"] * scale, middle, INK))
        reach = max(end, zero + entry["max"] * scale)
        shown = form.format(entry["median"])
        mark = results.get(system["id"], tick) if tick else None
        if mark is not None:
            at = zero + mark["median"] * scale
            out.append(line(end, middle, at, middle, FAINT))
            out.append(line(at, middle - BAR / 2, at, middle + BAR / 2, INK, 2))
            reach = max(reach, at)
            shown += " / " + form.format(mark["median"])
        out.append(text(reach + 6, middle + 4, shown, 12, weight=weight))
    out.append(line(zero, top, zero, top + len(systems) * ROW, FAINT))
    return out


def draw(results):
    """The whole picture, as a string."""
    systems = results.present()
    run = results.run
    panels = [spec for spec in PANELS if any(results.get(s["id"], spec[0]) is not None for s in systems)]
    height_of_panel = TITLE + len(systems) * ROW
    rows = -(-len(panels) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP
    height = MARGIN + HEAD + rows * (height_of_panel + GAP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif" role="img">',
        "<title>Weft beside its peers on one machine</title>",
        rectangle(0, 0, width, height, PAPER),
        text(MARGIN, MARGIN + 10, "Weft beside its peers on one machine", 18, weight="bold"),
        text(
            MARGIN,
            MARGIN + 32,
            f"{run['date'][:10]}, {run['cpu']}, {run['cores']} cores, Linux {run['kernel']}; median of {run['rounds']}, "
            "line: least to greatest; both ends and the load generator on these cores",
            11,
            FAINT,
        ),
    ]
    for index, spec in enumerate(panels):
        x = MARGIN + (index % COLUMNS) * (PANEL_WIDTH + GAP)
        y = MARGIN + HEAD + (index // COLUMNS) * (height_of_panel + GAP)
        out += panel(results, systems, x, y, spec)
    out.append("</svg>")
    return "\n".join(out) + "\n"
