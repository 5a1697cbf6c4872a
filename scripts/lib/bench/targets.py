"""What the data plane must reach, held against the figures of one run."""

# TCP of Weave's encrypted sleeve to wireguard-go 0.0.20250522 in the run of November 2026 that the targets come from.
# The sleeve itself (Weave Net 2.8, archived) is not started here.
SLEEVE_TO_WIREGUARD = 0.09
# A median may fall this far below its target where the target is to be no worse than another figure of the same system.
NOISE = 0.05
# Of a paced stream of some 10^5 datagrams; a handful is the machine's scheduler, and raw veth loses them too.
LOSS_PERCENT = 0.01

HEAD = ["measure", "figure", "must", "moonshot", "verdict"]
# The columns of words, for the tables.
WORDS = (0, 4)


def row(measure, value, form, must, moonshot=None, at_least=True, unit="", note=None):
    """A row; `value` is None where it was not measured, with `note` saying why; `must` is None for a moonshot alone."""
    sign = "≥" if at_least else "≤"

    def reached(limit):
        return limit is not None and (value >= limit if at_least else value <= limit)

    if value is None:
        verdict = "not measured"
    elif must is None:
        verdict = "moonshot met" if reached(moonshot) else "moonshot not met"
    elif reached(must):
        verdict = "met, moonshot too" if reached(moonshot) else "met"
    else:
        verdict = "not met"
    return {
        "measure": measure,
        "value": value,
        "figure": "–" if value is None else form.format(value) + unit,
        "must": "–" if must is None else f"{sign} {must:g}{unit}",
        "moonshot": "–" if moonshot is None else f"{sign} {moonshot:g}{unit}",
        "verdict": verdict,
        "note": note,
    }


def no_loss(results):
    loss, sent = results.median("weft", "paced_loss_percent"), results.median("weft", "paced_sent_kpps")
    pace = results.run["paced_kpps"]
    note = None
    if sent is not None and sent < 0.97 * pace:
        note = f"the sender reached {sent:.1f} kpps only"
    raw = results.median("veth", "paced_loss_percent")
    limit = max(LOSS_PERCENT, raw or 0)
    if raw is not None and raw > LOSS_PERCENT:
        note = f"raw veth lost {raw:.3f} % in this run, which is the limit"
    return row(f"UDP 64 B at {pace} kpps: lost", loss, "{:.3f}", round(limit, 3), at_least=False, unit=" %", note=note)


def evaluate(results):
    """All rows, in the order of the list of targets."""
    to_wireguard = results.ratio("weft", "tcp_gbps", "wggo")
    absent = results.systems.get("wggo", {}).get("absent")
    no_wireguard = f"wireguard-go is absent: {absent}" if to_wireguard is None and absent else None

    def to_itself(figure):
        one, other = results.median("weft", "tcp_gbps"), results.median("weft", figure)
        return other / one if one and other is not None else None

    quick_peer = "vpncloud" if results.median("vpncloud", "ping_avg_us") else results.best_peer("ping_avg_us", least=True)[0]
    peer_label = results.systems[quick_peer]["label"] if quick_peer else "the best peer"
    udp_peer = results.best_peer("udp64_kpps")[0]
    udp_note = f"the best peer is {results.systems[udp_peer]['label']}" if udp_peer else None
    slack = f"{NOISE * 100:.0f} % below counts as no worse"
    loaded = results.median("weft", "loaded_p99_us")
    rss = results.median("weft", "rss_mib")
    idle = results.median("weft", "idle_percent")
    relayed, direct = results.median("weft", "relay_gbps"), results.median("weft", "direct_gbps")
    return [
        row("TCP, 1 stream, automatic cipher / wireguard-go", to_wireguard, "{:.2f}", 2.7, note=no_wireguard),
        row(
            "TCP, 1 stream / Weave sleeve",
            None if to_wireguard is None else to_wireguard / SLEEVE_TO_WIREGUARD,
            "{:.1f}",
            25,
            note=f"the sleeve is taken as {SLEEVE_TO_WIREGUARD} of wireguard-go, as recorded in an earlier run; it is not started here",
        ),
        row("TCP, 1 stream / raw veth", results.ratio("weft", "tcp_gbps", "veth"), "{:.3f}", 0.33, 0.45),
        row(
            "TCP, 1 stream, ChaCha20-Poly1305 / wireguard-go",
            results.ratio("weftchacha", "tcp_gbps", "wggo"),
            "{:.2f}",
            2,
            note=no_wireguard,
        ),
        row("TCP, 1 stream, ChaCha20-Poly1305 / raw veth", results.ratio("weftchacha", "tcp_gbps", "veth"), "{:.3f}", None, 0.30),
        row("TCP, 4 streams / 1 stream", to_itself("tcp4_gbps"), "{:.2f}", 1 - NOISE, note=slack),
        row("TCP, reverse / forward", to_itself("reverse_gbps"), "{:.2f}", 1 - NOISE, note=slack),
        row("UDP 64 B, overload / best peer", results.ratio("weft", "udp64_kpps", "best"), "{:.2f}", 1.2, note=udp_note),
        no_loss(results),
        row(f"ping, average / {peer_label}", results.ratio("weft", "ping_avg_us", quick_peer), "{:.2f}", 1, 0.5, at_least=False),
        row(f"ping, p99 / {peer_label}", results.ratio("weft", "ping_p99_us", quick_peer), "{:.2f}", 1, 0.5, at_least=False),
        row("ping beside a bulk stream, p99", None if loaded is None else loaded / 1000, "{:.2f}", 2, at_least=False, unit=" ms"),
        row("CPU s/GB, whole machine / wireguard-go", results.ratio("weft", "cpu_s_per_gb", "wggo"), "{:.3f}", 0.4, 0.3,
            at_least=False, note=no_wireguard),
        row("memory of a daemon under load", rss, "{:.1f}", 32, 16, at_least=False, unit=" MiB"),
        row("TCP through one relay / direct", relayed / direct if relayed and direct else None, "{:.2f}", 0.5, 0.6),
        row("idle CPU of a daemon, 3 nodes", idle, "{:.3f}", 0.2, 0.05, at_least=False, unit=" %"),
    ]


def cells(rows):
    """The rows as cells of a table under HEAD."""
    return [[r["measure"], r["figure"], r["must"], r["moonshot"], r["verdict"]] for r in rows]


def notes(rows):
    """The rows that need a word more; rows that need the same share it."""
    shared = {}
    for r in rows:
        if r["note"]:
            shared.setdefault(r["note"], []).append(r["measure"])
    return [f"{'; '.join(measures)}: {note}." for note, measures in shared.items()]
