"""Makes the page of `scripts/bench ipam` from its figures."""

from pages import row, write


def page(figures):
    bare = figures["bare_sync_us"]
    held, tokens = figures["allocations"], figures["merges"]
    lines = [
        "# What an address costs", "",
        f"`scripts/bench ipam`, {figures['date']}, {figures['cpu'] or 'unknown processor'}, {figures['cores']} processors,"
        f" Linux {figures['kernel']}, {figures['disk']}, commit {figures['commit']}. An append of 200 bytes and a sync alone"
        f" take this disk {bare:.0f} µs. Ratios carry over to other machines, figures do not.", "",
        "## Allocate and free, each on disk before it counts", "",
        row(["addresses held", "pairs per second", "one pair, median", "of that in memory, to allocate", "bytes written", "syncs", "against 100 held"]),
        row(["--:"] * 7),
    ]
    first = held[0]["pair_us"]
    for one in held:
        lines.append(row([
            f"{one['held']:,}", f"{one['pairs_per_second']:.0f}", f"{one['pair_us']:.0f} µs", f"{one['allocate_in_memory_us']:.1f} µs",
            f"{one['bytes_per_pair']:.0f}", f"{one['syncs_per_pair']:.2f}", f"{one['pair_us'] / first:.2f} ×",
        ]))
    lines += [
        "", "## Another owner's word, taken in", "",
        row(["tokens in the ring", "owners", "one merge, median", "per token", "against the row before"]),
        row(["--:"] * 5),
    ]
    before = None
    for one in tokens:
        ratio = "" if before is None else f"{one['merge_us'] / before:.1f} ×"
        before = one["merge_us"]
        lines.append(row([
            f"{one['tokens']:,}", str(one["owners"]), f"{one['merge_us']:.1f} µs", f"{one['merge_us'] * 1000 / one['tokens']:.0f} ns", ratio,
        ]))
    return "\n".join(lines) + "\n"


write(page)
