"""Makes the page of a profile: `profile_page.py JSON PAGE`."""

import re

import pages

TITLES = {
    "tcp": "one TCP stream",
    "udp64": "UDP 64 B, overload",
    "paced": "UDP 64 B, 40 kpps",
    "ping": "a ping every 20 ms",
}
THREADS = ("weft-egress", "weft-ingress", "iperf3", "ping", "swapper")


def page(figures):
    """All tables."""
    loads = figures["loads"]
    names = sorted({name for load in loads.values() for name in load["groups"]}, key=lambda name: -loads["tcp"]["groups"].get(name, 0))
    head = ["", *(TITLES[load] for load in loads)]

    def table(rows, kind):
        lines = [pages.row(head), pages.row(["---", *("--:" for _ in loads)])]
        for name in rows:
            cells = [f"{load[kind].get(name, 0):.1f} %" for load in loads.values()]
            lines.append(pages.row([name, *cells]))
        return lines

    lines = [
        "# Where the processors' time goes",
        "",
        f"`scripts/bench profile`, {figures['date']}, {figures['cpu']}, {figures['cores']} processors, Linux {figures['kernel']}, commit "
        f"{figures['commit']}; others kept {figures['busy_before_percent']:.0f} % of the machine busy before. Samples by timer (`perf`, cpu-clock) of all "
        f"processors for {figures['seconds']} s, of two hosts and their Pods on this machine, 100 policies in force. Shares of all processors' time, idle time included.",
        "",
        "## By what it is spent on",
        "",
        *table(names, "groups"),
        "",
        "Sorted by the names of functions (`scripts/lib/bench/profile.py` says which are which). A virtual machine counts the time that its host takes to wake "
        "a processor as the function that asked for it, so waking is dearer here than on bare metal.",
        "",
        "## By thread",
        "",
        *table(THREADS, "threads"),
        "",
        "`swapper` is idle. The kernel's work for a packet is counted to the thread that sent it on: to `weft-egress` all up to the other host's socket, "
        "to `weft-ingress` all up to the Pod's.",
        "",
        "## The dearest functions",
        "",
    ]
    for name, load in loads.items():
        functions = ", ".join(f"`{re.sub(r'^.k. |^... ', '', symbol)}` {share:.1f}" for share, symbol in load["symbols"])
        lines.append(f"- {TITLES[name]} ({' '.join(load['said'].split())}): {functions}")
    return "\n".join(lines) + "\n"


pages.write(page)
