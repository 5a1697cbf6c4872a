"""How long a change takes to be in force in the kernels of two nodes that know many Pods, for `scripts/bench policy`.

  fill SOCKET FIRST COUNT        makes Pods known to a daemon by its own socket, without interfaces; prints nothing
  objects POLICIES NAMESPACES    prints the policies and namespaces that all nodes are given
  watch                          prints when each transaction of nftables in this network namespace took effect
  measure WEFT SOCKET NETNS NETNS TIMES
                                 changes policies, namespaces and Pods on the first node, that often each, and prints as
                                 JSON how long the command took, and how long until each node's kernel had it

Times are of the monotonic clock, which is the same in all namespaces of a machine.
"""

import concurrent.futures
import http.client
import json
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time

NAMESPACES = 100
# linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h, linux/netlink.h
NETLINK_NETFILTER, GROUP_TABLES, SUBSYSTEM_TABLES, NEW_GENERATION = 12, 7, 10, 15
PATIENCE = 10


class Connection(http.client.HTTPConnection):
    """HTTP on a daemon's socket."""

    def __init__(self, path):
        super().__init__("weft")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def call(path, method, resource, body):
    connection = Connection(path)
    connection.request(method, resource, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    if reply.status != 200:
        raise SystemExit(f"{method} {resource}: {reply.status} {text.decode(errors='replace')}")


def container(number):
    return f"bench{number}"


def attach(path, number, label):
    call(path, "POST", "/v1/attachments", {
        "container": container(number), "ifname": "eth0", "namespace": f"n{number % NAMESPACES}", "pod": f"p{number}",
        "labels": {"app": label}, "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
    })


def detach(path, number):
    call(path, "DELETE", f"/v1/attachments?container={container(number)}&ifname=eth0", None)


def fill(path, first, count):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        numbers = range(int(first), int(first) + int(count))
        for _ in pool.map(lambda number: attach(path, number, f"a{number // NAMESPACES % 10}"), numbers):
            pass


def policy(number, port):
    third = number % 256
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": f"p{number}", "namespace": f"n{number % NAMESPACES}"},
        "spec": {
            "podSelector": {"matchLabels": {"app": f"a{number // NAMESPACES % 10}"}}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"app": f"a{(number // NAMESPACES + 1) % 10}"}}}],
                 "ports": [{"port": "web"}, {"port": port, "endPort": port + 100}]},
                {"from": [{"ipBlock": {"cidr": f"192.168.{third}.0/24", "except": [f"192.168.{third}.7/32"]}}]},
            ],
            "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"tier": f"t{number % 7}"}}}]}],
        },
    }


def namespace(number, tier):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{number}", "labels": {"tier": tier}}}


def objects(policies, namespaces):
    items = [namespace(number, f"t{number % 7}") for number in range(int(namespaces))]
    items += [policy(number, 9000) for number in range(int(policies))]
    print(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def watch():
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    netlink.bind((0, 1 << (GROUP_TABLES - 1)))
    print("ready", flush=True)
    while True:
        try:
            data = netlink.recv(1 << 20)
        except OSError:
            # More was changed at once than the socket holds: that is told by the next.
            continue
        now = time.monotonic_ns()
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            if kind == SUBSYSTEM_TABLES << 8 | NEW_GENERATION:
                print(now, flush=True)
            data = data[max(16, (length + 3) // 4 * 4):]


class Watcher:
    """The transactions in a network namespace."""

    def __init__(self, netns):
        command = ["nsenter", f"--net=/run/netns/{netns}", sys.executable, "-B", __file__, "watch"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.times = queue.Queue()
        assert self.process.stdout.readline() == "ready\n"
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.times.put(int(line))

    def after(self, begun):
        """Milliseconds from `begun` to the first transaction after it."""
        while True:
            try:
                at = self.times.get(timeout=PATIENCE)
            except queue.Empty:
                raise SystemExit(f"nothing changed in a kernel within {PATIENCE} s") from None
            if at >= begun:
                return (at - begun) / 1e6


def apply(weft, path, item):
    command = [weft, "policy", "apply", "-f", "-"]
    done = subprocess.run(command, input=json.dumps(item), env={**os.environ, "WEFT_SOCKET": path}, text=True, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"weft policy apply exits with {done.returncode}")


def measure(weft, writer, writer_netns, other_netns, times):
    watchers = Watcher(writer_netns), Watcher(other_netns)
    extra = 50 * NAMESPACES * 10

    def pod(turn):
        number = extra + turn // 2 * NAMESPACES
        if turn % 2 == 0:
            attach(writer, number, "a1")
        else:
            detach(writer, number)

    kinds = {
        "policy": lambda turn: apply(weft, writer, policy(0, 9000 + turn % 2)),
        "namespace": lambda turn: apply(weft, writer, namespace(4, f"t{4 + turn % 2}")),
        "pod": pod,
    }
    rows = []
    for kind, change in kinds.items():
        figures = {"call_ms": [], "writer_ms": [], "other_ms": []}
        # The first is not measured: it may be what is there already.
        change(0)
        time.sleep(1)
        for turn in range(1, int(times) + 1):
            begun = time.monotonic_ns()
            change(turn)
            figures["call_ms"].append((time.monotonic_ns() - begun) / 1e6)
            figures["writer_ms"].append(watchers[0].after(begun))
            figures["other_ms"].append(watchers[1].after(begun))
            # What belongs to this change is over before the next.
            time.sleep(0.3)
        rows.append({"kind": kind, **{name: sorted(values) for name, values in figures.items()}})
    # The Pod of the last turn, where that made one.
    detach(writer, extra + int(times) // 2 * NAMESPACES)
    for watcher in watchers:
        watcher.process.kill()
    print(json.dumps(rows))


def main():
    command, *given = sys.argv[1:]
    {"fill": fill, "objects": objects, "watch": watch, "measure": measure}[command](*given)


main()
