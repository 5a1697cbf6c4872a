"""Makes the page of `scripts/bench kubernetes` from its figures."""

from pages import row, write

NAMES = {"weft": "Weft", "bridge": "bridge + host-local"}


def at(values, part):
    ordered = sorted(values)
    return f"{ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1000:.2f}"


def page(figures):
    lines = [
        "# From the request for a Pod to its first reply", "",
        f"`scripts/bench kubernetes`, {figures['date']}, {figures['cpu']}, {figures['cores']} processors, Linux {figures['kernel']},"
        f" Kubernetes {figures['kubernetes']}, commit {figures['commit']}; others kept the machine {figures['busy']:.0f} % busy before."
        " A Pod asks another one, on the first node, over and over from its start on; the time is from the request to the API"
        " server to the first reply. Both nodes, the control plane and all Pods share the processors, and most of the time"
        " goes into containerd, runc and the kubelets, whatever the network. Seconds.", "",
        f"## {figures['pods']} Pods at once, half on each node", "",
        row(["network", "run", "first", "median", "90 %", "last"]),
        row(["---"] + ["--:"] * 5),
    ]
    for number, run in enumerate(figures["runs"]):
        times = run["burst_ms"]
        lines.append(row([NAMES[run["network"]], str(number + 1), *(at(times, part) for part in (0, 0.5, 0.9, 1))]))
    lines += ["", "## One Pod at a time", "", row(["network", "run", "first", "median", "last"]), row(["---"] + ["--:"] * 4)]
    for number, run in enumerate(figures["runs"]):
        times = run["single_ms"]
        lines.append(row([NAMES[run["network"]], str(number + 1), *(at(times, part) for part in (0, 0.5, 1))]))
    return "\n".join(lines) + "\n"


write(page)
