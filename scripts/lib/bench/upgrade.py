"""Makes the page of `scripts/bench upgrade` from its figures; fails where one of them is not what was asked for."""

import json
import sys

from pages import row, write

WORDS = {"ping": "ping, every 20 ms", "stream": "one TCP connection, a word every 20 ms", "connect": "new TCP connections, every 50 ms"}


def gather(figures):
    """Sums over all rounds, for each kind and whether it stayed on the node."""
    found = {}
    for one in figures["rounds"]:
        for probe in one["probes"]:
            sums = found.setdefault((probe["kind"], probe["same_node"]), {"sent": 0, "lost": 0, "pause": 0.0, "broken": 0, "through": 0})
            sums["sent"] += probe["sent"]
            sums["lost"] += probe["sent"] - probe["answered"]
            sums["through"] += probe["answered"]
            sums["pause"] = max(sums["pause"], probe["longest_pause_s"])
            sums["broken"] += probe["kind"] == "stream" and probe["error"] is not None
    return found


def verdicts(figures, found):
    near = [sums for (kind, same), sums in found.items() if same and kind != "denied"]
    far = [sums for (kind, same), sums in found.items() if not same and kind != "denied"]
    denied = [sums for (kind, _), sums in found.items() if kind == "denied"]
    lost, pause = sum(sums["lost"] for sums in near), max(sums["pause"] for sums in far)
    broken = sum(sums["broken"] for sums in near + far)
    through = sum(sums["through"] for sums in denied)
    return [
        ("lost within a node", str(lost), "0", lost == 0),
        ("longest pause between nodes", f"{pause:.2f} s", f"below {figures['stall_s']} s", pause < figures["stall_s"]),
        ("connections that broke", str(broken), "0", broken == 0),
        ("tries of who is denied that came through", str(through), "0", through == 0),
    ]


def page(figures):
    found = gather(figures)
    rounds = figures["rounds"]
    lines = [
        "# A rolling update of the DaemonSet", "",
        f"`scripts/bench upgrade`, {figures['date']}, {figures['cpu']}, {figures['cores']} processors, Linux {figures['kernel']},"
        f" Kubernetes {figures['kubernetes']}, commit {figures['commit']}; others kept the machine {figures['busy']:.0f} % busy before."
        f" {len(rounds)} updates of both nodes, {min(r['seconds'] for r in rounds):.0f} to {max(r['seconds'] for r in rounds):.0f} s each,"
        " under traffic from a Pod on each node to a Pod on each node, which a NetworkPolicy lets in alone.", "",
        row(["traffic", "where", "sent", "lost", "longest pause"]),
        row(["---", "---", "--:", "--:", "--:"]),
    ]
    for same in (True, False):
        for kind, words in WORDS.items():
            sums = found[kind, same]
            lines.append(row([words, "within a node" if same else "between nodes", f"{sums['sent']:,}", f"{sums['lost']:,}", f"{sums['pause']:.2f} s"]))
    lines += ["", row(["who is denied tries every 10 ms", "tries", "came through"]), row(["---", "--:", "--:"])]
    for same in (True, False):
        sums = found["denied", same]
        lines.append(row(["within a node" if same else "between nodes", f"{sums['sent']:,}", str(sums["through"])]))
    lines += ["", row(["asked for", "found", "limit", "verdict"]), row(["---", "--:", "--:", "---"])]
    for words, value, limit, good in verdicts(figures, found):
        lines.append(row([words, value, limit, "met" if good else "not met"]))
    return "\n".join(lines) + "\n"


write(page)
with open(sys.argv[1], encoding="utf-8") as file:
    run = json.load(file)
sys.exit(0 if all(good for *_, good in verdicts(run, gather(run))) else 1)
