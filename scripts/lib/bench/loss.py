"""For `scripts/bench loss`: a wire that delays and loses packets, and the page of the figures.

wire PORT PORT MILLISECONDS PERCENT: passes what comes in at one port out of the other, half of the time later, and loses so much of it.
report FIGURES PAGE: fails where a ratio is below the least one.
"""

import collections
import json
import random
import select
import socket
import statistics
import sys
import time

from pages import row

ETH_P_ALL = 3
LONGEST = 65_536
BUFFER = 4 << 20
# Linux: SO_RCVBUFFORCE, which Python does not name.
RECEIVE_BUFFER = 33


def open_port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    port.setsockopt(socket.SOL_SOCKET, RECEIVE_BUFFER, BUFFER)
    port.bind((name, 0))
    port.setblocking(False)
    return port


def wire(names, milliseconds, percent):
    ports = [open_port(name) for name in names]
    opposite = dict(zip(ports, reversed(ports)))
    delay = milliseconds / 2000
    chance = random.Random(1)
    under_way = collections.deque()
    while True:
        wait = None if not under_way else max(0.0, under_way[0][0] - time.monotonic())
        for port in select.select(ports, [], [], wait)[0]:
            while True:
                try:
                    packet, source = port.recvfrom(LONGEST)
                except BlockingIOError:
                    break
                if source[2] != socket.PACKET_OUTGOING and chance.random() * 100 >= percent:
                    under_way.append((time.monotonic() + delay, opposite[port], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, port, packet = under_way.popleft()
            try:
                port.send(packet)
            except OSError:
                pass  # A full queue loses as well.


def report(figures):
    """The page, and the lowest ratio."""
    lines = [
        "# TCP on an underlay that loses packets", "",
        f"`scripts/bench loss`, {figures['date']}, {figures['cpu'] or 'unknown processor'}, {figures['cores']} processors, Linux {figures['kernel']},"
        f" commit {figures['commit']}; others kept {figures['busy_before_percent']:.0f} % of the machine busy before. One TCP stream"
        f" for {figures['seconds']} s at a time, all systems in turn, {figures['rounds']} rounds, medians;"
        f" {figures['percent']} % of the packets of the underlay are lost at random, in both directions, each a packet of at most 1,500 bytes. *bare* is the underlay"
        " itself, beside the tunnel; ratios are to it, of the medians, with the lowest and highest of single rounds. Ratios carry over to other machines, figures do not.", "",
        row(["round trip", "TCP", "system", "Mbit/s", "ratio", "lowest", "highest"]),
        row(["--:", "---", "---"] + ["--:"] * 4),
    ]
    lowest = float("inf")
    runs = figures["figures"]
    for delay, congestion in dict.fromkeys((run["delay_ms"], run["congestion"]) for run in runs):
        here = [run for run in runs if (run["delay_ms"], run["congestion"]) == (delay, congestion)]
        by_system = {}
        for run in here:
            by_system.setdefault(run["system"], []).append(run["mbps"])
        bare = by_system["bare"]
        for system, rates in by_system.items():
            each = [rate / other for rate, other in zip(rates, bare)]
            ratio = statistics.median(rates) / statistics.median(bare)
            if system != "bare":
                lowest = min(lowest, ratio)
            lines.append(row([
                "as it is" if delay == 0 else f"{delay} ms more", congestion, system if system == "bare" else f"weft, {system}",
                f"{statistics.median(rates):.1f}", f"{ratio:.2f}", f"{min(each):.2f}", f"{max(each):.2f}",
            ]))
    lines += ["", f"The least that is asked for is {figures['least']}."]
    return "\n".join(lines) + "\n", lowest


def main():
    if sys.argv[1] == "wire":
        wire(sys.argv[2:4], float(sys.argv[4]), float(sys.argv[5]))
    with open(sys.argv[2], encoding="utf-8") as file:
        figures = json.load(file)
    page, lowest = report(figures)
    with open(sys.argv[3], "w", encoding="utf-8") as file:
        file.write(page)
    if lowest < figures["least"]:
        sys.exit(1)


main()
