#!/usr/bin/env python3
"""Turns what the data plane's bench measured into tables, targets and a plot.

Usage: report.py WORK OUT. Reads WORK/run.json and WORK/figures.jsonl, writes OUT/dataplane.{json,md,txt,svg}.
"""

import json
import statistics
import sys
from pathlib import Path

import plot
import targets

# Figure, heading, the same for a terminal, unit, format. In the order of the tables.
FIGURES = [
    ("tcp_gbps", "TCP, 1 stream", "TCP 1", "Gbit/s", "{:.2f}"),
    ("tcp4_gbps", "4 streams", "TCP 4", "Gbit/s", "{:.2f}"),
    ("reverse_gbps", "reverse", "reverse", "Gbit/s", "{:.2f}"),
    ("both_gbps", "both ways at once", "both", "Gbit/s", "{:.2f}"),
    ("udp64_kpps", "UDP 64 B, overload", "UDP 64 B", "kpps", "{:.0f}"),
    ("paced_loss_percent", "UDP 64 B, 40 kpps", "at 40 k", "% lost", "{:.3f}"),
    ("udp1200_gbps", "UDP 1,200 B, overload", "UDP 1200 B", "Gbit/s", "{:.2f}"),
    ("ping_avg_us", "ping, average", "ping", "avg µs", "{:.0f}"),
    ("ping_p99_us", "ping, p99", "ping", "p99 µs", "{:.0f}"),
    ("loaded_p99_us", "ping beside a stream, p99", "under load", "p99 µs", "{:.0f}"),
    ("cpu_s_per_gb", "CPU, machine", "machine", "CPU s/GB", "{:.2f}"),
    ("daemon_s_per_gb", "CPU, daemons", "daemons", "CPU s/GB", "{:.2f}"),
    ("rss_mib", "memory of a daemon", "memory", "MiB", "{:.1f}"),
]
UNITS = {"avg µs": "µs", "p99 µs": "µs", "CPU s/GB": "s/GB"}
# The columns of the table of ratios: the two lines of the heading, figure, and to what.
RATIOS = [
    ("TCP", "/ raw veth", "tcp_gbps", "veth"),
    ("TCP", "/ wireguard-go", "tcp_gbps", "wggo"),
    ("TCP", "/ best peer", "tcp_gbps", "best"),
    ("UDP 64 B", "/ best peer", "udp64_kpps", "best"),
    ("ping avg", "/ best peer", "ping_avg_us", "best"),
    ("ping p99", "/ best peer", "ping_p99_us", "best"),
    ("CPU", "/ raw veth", "cpu_s_per_gb", "veth"),
    ("CPU", "/ wireguard-go", "cpu_s_per_gb", "wggo"),
]


class Results:
    """The figures of one run: for each system and figure the median, the extremes and how many rounds gave one."""

    def __init__(self, run, lines):
        self.run = run
        self.systems = {system["id"]: system for system in run["systems"]}
        self.errors = [line for line in lines if "error" in line]
        values = {}
        for line in lines:
            if "value" in line:
                values.setdefault((line["system"], line["figure"]), []).append(line["value"])
        self.table = {
            key: {"median": statistics.median(v), "min": min(v), "max": max(v), "rounds": len(v)}
            for key, v in values.items()
        }

    def present(self):
        """The systems that ran, in the order of the tables."""
        return [s for s in self.systems.values() if s["absent"] is None]

    def measured(self, figures):
        """Those of `figures` (rows of FIGURES) that any system has."""
        return [row for row in figures if any(name == row[0] for _, name in self.table)]

    def get(self, system, figure):
        """The entry of one figure, or None."""
        return self.table.get((system, figure))

    def median(self, system, figure):
        """The median of one figure, or None."""
        entry = self.get(system, figure)
        return None if entry is None else entry["median"]

    def best_peer(self, figure, least=False):
        """The encrypting peer with the best median, and that median; (None, None) without peers."""
        found = [
            (self.median(s["id"], figure), s["id"])
            for s in self.present()
            if s["kind"] == "peer" and self.median(s["id"], figure) is not None
        ]
        if not found:
            return None, None
        value, system = min(found) if least else max(found)
        return system, value

    def ratio(self, system, figure, base):
        """The median of a system's figure to that of `base` ("best" is the best peer), or None."""
        value = self.median(system, figure)
        if base == "best":
            other = self.best_peer(figure, least=figure.startswith(("ping", "cpu")))[1]
        else:
            other = self.median(base, figure)
        return value / other if value is not None and other else None


def show(entry, form):
    return "–" if entry is None else form.format(entry["median"])


def show_with_range(entry, form):
    if entry is None:
        return "–"
    median, low, high = (form.format(entry[key]) for key in ("median", "min", "max"))
    return median if low == high else f"{median} ({low}–{high})"


def ratio_rows(results):
    rows = []
    for system in results.present():
        row = [system["label"]]
        for _, _, figure, base in RATIOS:
            ratio = results.ratio(system["id"], figure, base)
            row.append("–" if ratio is None else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3f}")
        rows.append(row)
    return rows


def about(results):
    """What a reader must know of the run before the figures, a sentence each."""
    run = results.run
    lines = [
        f"{run['date']}, Weft {run['commit']} (built {run['built']}), {run['cpu']}, {run['cores']} cores, Linux {run['kernel']}, "
        f"iperf3 {run['iperf']}, congestion control {run['congestion_control']}.",
        f"{'A quick run' if run['quick'] else 'A run'} of {run['rounds']} interleaved round{'s'[: run['rounds'] != 1]}: TCP with one stream "
        f"{run['tcp_seconds']} s, other throughput {run['seconds']} s, {run['pings']} pings at 2 ms; medians over the rounds.",
        "Daemons, load generator and both ends share the cores, so only ratios within this run carry over to another machine; "
        "differences under 20 % are noise.",
    ]
    if run["busy_before_percent"] > 5:
        lines.append(f"Others kept the machine {run['busy_before_percent']:.0f} % busy before the run began: these figures are noise.")
    return lines


def text_table(rows, words=(0,)):
    """The lines of a table; the columns `words` are flush left, the others are figures and flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(w) if i in words else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]


def markdown_table(head, rows, words=(0,)):
    ruler = ["---" if i in words else "---:" for i in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in [head, ruler, *rows]]


def versions(results):
    return [
        f"{s['label']}: {s['version'] or 'version unknown'}" if s["absent"] is None else f"{s['label']}: absent, {s['absent']}"
        for s in results.systems.values()
    ]


def not_had(results):
    """Figures that a round did not give, with how often and why."""
    counted = {}
    for line in results.errors:
        key = (results.systems[line["system"]]["label"], line["figure"], line["error"])
        counted[key] = counted.get(key, 0) + 1
    return [f"{label}, {figure}: {error} ({n} of {results.run['rounds']} rounds)" for (label, figure, error), n in counted.items()]


def write_text(results, rows, path):
    out = ["", *about(results)]
    for part in filter(None, (results.measured(FIGURES[:7]), results.measured(FIGURES[7:]))):
        head = [["", *(short for _, _, short, _, _ in part)], ["", *(unit for _, _, _, unit, _ in part)]]
        body = [[s["label"], *(show(results.get(s["id"], f), form) for f, _, _, _, form in part)] for s in results.present()]
        out += ["", *text_table(head + body)]
    head = [["", *(one for one, _, _, _ in RATIOS)], ["", *(two for _, two, _, _ in RATIOS)]]
    out += ["", "Ratios", "", *text_table(head + ratio_rows(results))]
    out += ["", "What it must reach", "", *text_table([targets.HEAD, *targets.cells(rows)], targets.WORDS)]
    out += [""] + [f"  {note}" for note in targets.notes(rows)]
    absent = [line for line in versions(results) if ": absent" in line] + not_had(results)
    if absent:
        out += ["", "Not measured", "", *(f"  {line}" for line in absent)]
    path.write_text("\n".join(out) + "\n", encoding="utf-8")


def write_markdown(results, rows, path):
    out = ["# The data plane, measured", ""]
    out += ["Written by `scripts/bench dataplane`; run it to have the figures of your machine.", ""]
    out += [" ".join(about(results)), "", "![The figures as bars](dataplane.svg)", ""]
    out += ["## Figures", "", "Medians, with the least and the greatest of the rounds in parentheses.", ""]
    for part in filter(None, (results.measured(FIGURES[:7]), results.measured(FIGURES[7:]))):
        head = ["system", *(f"{title}, {UNITS.get(unit, unit)}" for _, title, _, unit, _ in part)]
        body = [
            [s["label"], *(show_with_range(results.get(s["id"], f), form) for f, _, _, _, form in part)]
            for s in results.present()
        ]
        out += [*markdown_table(head, body), ""]
    idle = results.get("weft", "idle_percent")
    if idle is not None:
        out += [f"Idle, three nodes with a Pod each: the busiest daemon takes {show_with_range(idle, '{:.3f}')} % of a core.", ""]
    relay, direct = results.get("weft", "relay_gbps"), results.get("weft", "direct_gbps")
    if relay is not None and direct is not None:
        out += [
            f"TCP, one stream, through a node between two that cannot reach each other: {show_with_range(relay, '{:.2f}')} Gbit/s; "
            f"beside it, between neighbours of the same three: {show_with_range(direct, '{:.2f}')} Gbit/s.",
            "",
        ]
    head = ["system", *(f"{one} {two}" for one, two, _, _ in RATIOS)]
    out += ["## Ratios", "", *markdown_table(head, ratio_rows(results)), ""]
    out += ["## What it must reach", "", *markdown_table(targets.HEAD, targets.cells(rows), targets.WORDS), ""]
    out += [f"- {note}" for note in targets.notes(rows)] + [""]
    out += ["## What was measured", "", *(f"- {line}" for line in versions(results)), ""]
    missing = not_had(results)
    if missing:
        out += ["Figures that rounds did not give:", "", *(f"- {line}" for line in missing), ""]
    out += [
        "Each system runs between two network namespaces joined by a veth pair (MTU 1500), as it comes but for addresses and keys; "
        "Weft between two Pods, through veth, bridge and TAP on either side, with 100 policies in force, one of which selects and "
        "allows them. CPU is that of the run with one TCP stream: of the whole machine from `/proc/stat`, of the daemons from "
        "`/proc/PID/stat`, both ends together, per GB (10^9 bytes) received. Memory is the resident size of the larger daemon right "
        "after it. Under overload the sender sends all it can, and the figure is what arrives.",
    ]
    path.write_text("\n".join(out) + "\n", encoding="utf-8")


def write_json(results, rows, path):
    systems = []
    for system in results.systems.values():
        figures = {figure: entry for (name, figure), entry in results.table.items() if name == system["id"]}
        systems.append({**system, "figures": figures})
    run = {key: value for key, value in results.run.items() if key != "systems"}
    document = {"run": run, "systems": systems, "targets": rows, "errors": results.errors}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    run = json.loads((work / "run.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (work / "figures.jsonl").read_text(encoding="utf-8").splitlines()]
    results = Results(run, lines)
    rows = targets.evaluate(results)
    write_json(results, rows, out / "dataplane.json")
    write_text(results, rows, out / "dataplane.txt")
    write_markdown(results, rows, out / "dataplane.md")
    (out / "dataplane.svg").write_text(plot.draw(results), encoding="utf-8")


if __name__ == "__main__":
    main()
