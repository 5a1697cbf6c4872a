"""Makes the page of `scripts/bench policy` from its figures."""

import statistics

from pages import row, write

CHANGES = {
    "policy": "a port in a policy, by `weft policy apply`",
    "namespace": "a label of a namespace, by `weft policy apply`",
    "pod": "a Pod that comes or goes, by a call like the plugin's",
}
TRAFFIC = {
    "tcp_b": ("one TCP stream, same node", "Gbit/s", ".1f"),
    "connections_b": ("new connections, same node", "1/s", ",.0f"),
    "tcp_c": ("one TCP stream, two nodes", "Gbit/s", ".2f"),
    "connections_c": ("new connections, two nodes", "1/s", ",.0f"),
}


def rank(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def rulesets(figures):
    lines = [
        "## Rulesets", "",
        "Both families, 100 Pods a namespace, at most 100 of them on this node. *Whole* is what a daemon does when it starts, *change*"
        " another port in one policy.", "",
        row(["Pods", "policies", "chains", "sets", "elements", "made", "written", "loaded by `nft`", "difference", "change by `nft`"]),
        row(["--:"] * 10),
    ]
    for one in figures["rulesets"]:
        milliseconds = [f"{one[name]:.1f} ms" for name in ("compile_ms", "text_ms", "load_ms", "difference_ms", "change_ms")]
        lines.append(row([f"{one[name]:,}" for name in ("pods", "policies", "chains", "sets", "elements")] + milliseconds))
    return lines


def changes(figures):
    lines = [
        "", f"## Changes, with {figures['known_pods']:,} Pods and {figures['known_policies']:,} policies known", "",
        "From before the command starts until nftables tells of the new generation, in the kernel of the node that was told and in that"
        " of another. Pods are real records, made by daemons that told these two nodes and ended.", "",
        row(["change", "times", "command done", "", "this node", "", "the other node", ""]),
        row(["", "", "median", "worst", "median", "worst", "median", "worst"]),
    ]
    lines.insert(-1, row(["---"] + ["--:"] * 7))
    for one in figures["changes"]:
        cells = [CHANGES[one["kind"]], str(len(one["call_ms"]))]
        for name in ("call_ms", "writer_ms", "other_ms"):
            cells += [f"{statistics.median(one[name]):.0f} ms", f"{max(one[name]):.0f} ms"]
        lines.append(row(cells))
    worst = max(max(one[name]) for one in figures["changes"] for name in ("writer_ms", "other_ms"))
    lines += ["", f"The slowest of all took {worst:.0f} ms. A label of a Pod, which only the Kubernetes API changes, is not timed apart. The daemon that was told has {figures['memory_mib']} MiB in memory."]
    return lines


def traffic(figures):
    lines = [
        "", "## Packets", "",
        f"Medians of {figures['rounds']} rounds of {figures['seconds']} s, and in brackets the share of what a pair of nodes reaches that"
        " enforces nothing: no table, and bridged packets not handed to any. Of 10 and 1,000 policies one selects and allows the"
        " measured Pods, the others are elsewhere.", "",
        row(["", "nothing enforced", "0 policies", "10", "1,000", "1,000 against 0"]),
        row(["---"] + ["--:"] * 5),
    ]
    for figure, (title, unit, form) in TRAFFIC.items():
        value = {
            policies: statistics.median(one["value"] for one in figures["traffic"] if (one["figure"], one["policies"]) == (figure, policies))
            for policies in ("none", "0", "10", "1000")
        }
        cells = [f"{title}, {unit}", format(value["none"], form)]
        cells += [f"{format(value[policies], form)} ({value[policies] / value['none']:.2f})" for policies in ("0", "10", "1000")]
        lines.append(row(cells + [f"{value['1000'] / value['0']:.2f}"]))
    return lines


def page(figures):
    lines = [
        "# What policies cost", "",
        f"`scripts/bench policy`, {figures['date']}, {figures['cpu'] or 'unknown processor'}, {figures['cores']} processors,"
        f" Linux {figures['kernel']}, nft {figures['nft']}, commit {figures['commit']}; before it, others kept the machine"
        f" {figures['busy_before_percent']:.0f} % busy. Ratios carry over to other machines, figures do not.", "",
    ]
    return "\n".join(lines + rulesets(figures) + changes(figures) + traffic(figures)) + "\n"


write(page)
