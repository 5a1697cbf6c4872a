"""Makes the page of `scripts/bench herd` from its figures, and computes what they come to for more nodes."""

from pages import row, write

MANY = 1000


def size(count):
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= divisor:
            return f"{count / divisor:,.1f} {unit}"
    return f"{count:,.0f} B"


def page(figures):
    nodes = figures["nodes"]
    found = {(one["measure"], one["nodes"]): one for one in figures["measures"]}
    half = min(count for measure, count in found if measure == "start")

    def a_node(measure, count=nodes):
        return found[measure, count]["bytes"] / count

    # What a node is sent at its start grows with the nodes: all Nodes, and what each of them says of itself.
    slope = (a_node("start") - a_node("start", half)) / (nodes - half)
    fixed = a_node("start") - slope * nodes
    seconds = found["idle", nodes]["seconds"]
    idle = a_node("idle") / seconds
    report = found["report", nodes]
    reports = seconds * nodes // figures["report_s"]
    one_report = max(0.0, (a_node("report") - idle * report["seconds"]) / max(1, reports))

    def change(measure):
        return max(0.0, a_node(measure) - idle * found[measure, nodes]["seconds"])

    # Of the restart it is taken that all is listed again, as at a start: where watches resume it is less.
    again = a_node("restart")
    rows = [
        ("at the start, until all watch and know each other", a_node("start"), "once", fixed + slope * MANY),
        ("at rest, nothing changes", idle, "a second", idle),
        (f"at rest, each kubelet reports every {figures['report_s']} s", idle + one_report * nodes / figures["report_s"], "a second",
         idle + one_report * MANY / figures["report_s"]),
        ("one policy changes", change("policy"), "once", change("policy")),
        ("one namespace's label changes", change("namespace"), "once", change("namespace")),
        ("the API server starts again", again, "once", again * (fixed + slope * MANY) / (fixed + slope * nodes)),
    ]
    lines = [
        "# What the API server has to send", "",
        f"`scripts/bench herd`, {figures['date']}, {figures['cpu']}, {figures['cores']} processors, Linux {figures['kernel']},"
        f" Kubernetes {figures['kubernetes']}, commit {figures['commit']}; others kept the machine {figures['busy']:.0f} % busy before."
        f" A real API server and {nodes} nodes with the daemon's own watches; {figures['pods_a_node']} Pods a node, {figures['namespaces']}"
        f" namespaces, {figures['policies']} policies, Node objects with 25 images each. Counted on the nodes' link: TLS, TCP and IP are in it.", "",
        row(["what", "when", f"a node, of {nodes}", f"all {nodes}", f"a node, of {MANY:,}, computed", f"all {MANY:,}, computed"]),
        row(["---", "---", "--:", "--:", "--:", "--:"]),
    ]
    for words, value, when, many in rows:
        lines.append(row([words, when, size(value), size(value * nodes), size(many), size(many * MANY)]))
    lines += [
        "",
        f"All nodes started at once watch and know each other after {found['start', nodes]['seconds']:.1f} s. After the API server's restart all"
        f" watch again {found['watching again', nodes]['seconds']:.1f} s after it answers. A label of one Pod is"
        f" {size(found['pod', nodes]['bytes'])} to all {nodes} nodes together, as its own node alone is told.",
        "",
        f"Computed: a start is {size(fixed)} a node and {size(slope)} for each node that there is (from the starts of {half} and of {nodes});"
        f" a report is {size(one_report)} to each node; the restart grows as a start does.",
    ]
    return "\n".join(lines) + "\n"


write(page)
