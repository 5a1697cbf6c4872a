"""Sorts perf's samples into what they were spent on: `profile.py FOLDER`, JSON on standard output."""

import json
import pathlib
import re
import sys

LOADS = ("tcp", "udp64", "paced", "ping")

# The first that matches counts. Symbols of the kernel have no prefix of their own, so this goes by their names.
GROUPS = (
    ("idle", r"native_safe_halt|cpu_idle|default_idle|cpuidle"),
    ("cipher", r"aes_gcm|gcm_|gcm128|aead|chacha|poly1305|init_IV"),
    ("copies", r"copy_from_iter|copy_to_iter|copy_from_user|copy_to_user|_copy_(to|from)|memmove|memcpy|rep_movs|copy_user|check_object_size|virt_addr_valid"),
    ("waking and switching threads", r"finish_task_switch|spin_unlock_irq|sched|try_to_wake|ttwu|wake|enqueue_task|dequeue_task|pick_next|pick_task|poll|select|hrtimer|nanosleep|update_curr|update_load"),
    ("entering the kernel and its interrupts", r"do_syscall_64|entry_SYSCALL|x64_sys|handle_softirqs|irq_exit|asm_sysvec|syscall"),
    ("bridge, netfilter and policies", r"nft_|nf_|^br_|ebt_|ct_|conntrack"),
    ("TAP and veth", r"tun_|veth|virtio_net_hdr"),
    ("segments, checksums and buffers", r"skb|gro_|gso|csum|kmalloc|kmem_cache|kfree|slab|page_|alloc|free_|zap"),
    ("UDP, IP and routes", r"udp|ip_|ip6|fib|inet|dst_|neigh|sock|dev_|net_rx|napi|netif|xmit"),
    ("TCP", r"tcp|bbr|cubic"),
    ("Weft itself", r"weft|std::|core::|alloc::|rust"),
)
REST = "all else"


def samples(path):
    """Pairs of a share in percent and a name."""
    for line in path.read_text(encoding="utf-8").splitlines():
        share, name = line.split("|", 1)
        yield float(share.strip().rstrip("%")), name.split("|")[0].strip()


def group(symbol):
    """What a symbol, with perf's mark before it, is counted as."""
    name = re.sub(r"^\[.\]\s*", "", symbol)
    return next((title for title, pattern in GROUPS if re.search(pattern, name)), REST)


def summed(pairs):
    """The shares of equal names added up, the largest first."""
    total = {}
    for share, name in pairs:
        total[name] = total.get(name, 0) + share
    return dict(sorted(((name, round(share, 1)) for name, share in total.items()), key=lambda item: -item[1]))


def main():
    folder = pathlib.Path(sys.argv[1])
    figures = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    figures["loads"] = {}
    # Workers of all lanes together.
    lane = re.compile(r"(?<=^weft-egress)-\d+$|(?<=^weft-ingress)-\d+$")
    for load in LOADS:
        symbols = list(samples(folder / f"{load}.symbol"))
        said = (folder / f"{load}.said").read_text(encoding="utf-8").splitlines()
        figures["loads"][load] = {
            "said": next((line.strip() for line in said if "receiver" in line or "rtt" in line), ""),
            "threads": summed((share, lane.sub("", name)) for share, name in samples(folder / f"{load}.comm")),
            "groups": summed((share, group(name)) for share, name in symbols),
            "symbols": [[round(share, 1), name] for share, name in symbols[:12]],
        }
    json.dump(figures, sys.stdout, indent=1)
    print()


main()
