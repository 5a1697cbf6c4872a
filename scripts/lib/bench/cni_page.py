"""Makes the page of `scripts/bench cni` from its figures."""

from pages import row, write


def page(figures):
    plugins = figures["plugins"]
    lines = [
        "# What a Pod's interface costs", "",
        f"`scripts/bench cni`, {figures['date']}, {figures['cpu'] or 'unknown processor'}, {figures['cores']} processors,"
        f" Linux {figures['kernel']}, commit {figures['commit']}; others kept the machine {figures['busy']:.0f} % busy,"
        f" plugins and daemon ran as {figures['scheduling']}."
        " Milliseconds from starting the plugin to its end, the daemon warm. Ratios carry over to other machines, figures do not.",
        "", f"## One call after the other, {figures['rounds']} of each, the plugins in changing order", "",
        row(["plugin", "ADD p50", "p90", "p99", "max", "DEL p50", "p90", "p99", "max"]),
        row(["---"] + ["--:"] * 8),
    ]
    for name, verbs in plugins.items():
        cells = [f"{verbs[verb][part]:.1f}" for verb in ("ADD", "DEL") for part in ("p50_ms", "p90_ms", "p99_ms", "max_ms")]
        lines.append(row([name, *cells]))
    lines += [
        "", f"## {figures['parallel']} at once, until the last one is done", "",
        row(["plugin", "ADD", "of them failed", "DEL", "of them failed"]),
        row(["---"] + ["--:"] * 4),
    ]
    for name, verbs in plugins.items():
        cells = [text for verb in ("ADD", "DEL")
                 for text in (f"{verbs[verb]['parallel_ms']:.0f}", str(len(verbs[verb]["parallel_errors"])))]
        lines.append(row([name, *cells]))
    return "\n".join(lines) + "\n"


write(page)
