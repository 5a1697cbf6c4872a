"""Times CNI ADD and DEL in the network namespace that it is started in, as a runtime would call them.

Every plugin gets the same namespaces, one after the other in turn, so that what else the machine does falls on all alike.
Making the namespaces is not timed; starting the plugins' processes is, since a runtime pays for that too.
"""

import argparse
import json
import os
import random
import subprocess
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin-dir", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--prefix", required=True, help="of the namespaces")
    parser.add_argument("--state", required=True, help="a folder for host-local")
    parser.add_argument("--out", required=True, help="the file for the figures, in JSON")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--parallel", type=int, default=100)
    return parser.parse_args()


def plugins(given):
    def weft(**keys):
        return [os.path.join(given.bin_dir, "weft-net")], {"type": "weft-net", "name": "weft", "socket": given.socket, **keys}

    ipam = {"type": "host-local", "dataDir": given.state, "ranges": [[{"subnet": "10.88.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "name": "debian", "bridge": "cni0", "isGateway": True, "ipam": ipam}
    return {
        # As `weft setup-cni` installs it; then a network whose Pods have to be exempt from that.
        "weft": weft(ipMasq=True),
        "weft, not ipMasq": weft(name="plain"),
        "bridge+host-local": (["/usr/lib/cni/bridge"], bridge),
    }


def start(given, plugin, verb, namespace, container):
    command, config = plugin
    environment = dict(os.environ, CNI_COMMAND=verb, CNI_CONTAINERID=container, CNI_NETNS=f"/run/netns/{namespace}",
                       CNI_IFNAME="eth0", CNI_PATH=f"{given.bin_dir}:/usr/lib/cni")
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    process.stdin.write(json.dumps({"cniVersion": "1.0.0", **config}).encode())
    process.stdin.close()
    return process


def finish(process):
    output = process.stdout.read().decode()
    return None if process.wait() == 0 else output.strip()


def timed(given, plugin, verb, namespace, container):
    begun = time.perf_counter()
    error = finish(start(given, plugin, verb, namespace, container))
    took = (time.perf_counter() - begun) * 1000
    if error is not None:
        raise SystemExit(f"{verb} by {plugin[0][0]} failed: {error}")
    return took


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part / 100 * len(ordered)))]


def sequential(given, all_plugins):
    namespace = f"{given.prefix}-0"
    times = {name: {"ADD": [], "DEL": []} for name in all_plugins}
    for name, plugin in all_plugins.items():
        # The first one makes bridges and tables.
        timed(given, plugin, "ADD", namespace, "warm")
        timed(given, plugin, "DEL", namespace, "warm")
    names = list(all_plugins)
    for number in range(given.rounds):
        # The kernel tidies up after a DEL in the background: nobody is always the one who comes after the same other.
        random.shuffle(names)
        for name in names:
            plugin = all_plugins[name]
            for verb in ("ADD", "DEL"):
                times[name][verb].append(timed(given, plugin, verb, namespace, f"c{number}"))
    return times


def parallel(given, plugin):
    outcomes = {}
    for verb in ("ADD", "DEL"):
        begun = time.perf_counter()
        running = [start(given, plugin, verb, f"{given.prefix}-{n}", f"p{n}") for n in range(given.parallel)]
        errors = [error for error in map(finish, running) if error is not None]
        outcomes[verb] = ((time.perf_counter() - begun) * 1000, errors)
    return outcomes


def figures(given, all_plugins):
    """For each plugin and verb: percentiles of calls one after the other, and of many at once how long, and what failed."""
    found = {}
    for name, verbs in sequential(given, all_plugins).items():
        found[name] = {verb: {**{f"p{part}_ms": percentile(times, part) for part in (50, 90, 99)}, "max_ms": max(times)}
                       for verb, times in verbs.items()}
    for name, plugin in all_plugins.items():
        for verb, (took, errors) in parallel(given, plugin).items():
            found[name][verb] |= {"parallel_ms": took, "parallel_errors": errors}
    return found


def main():
    given = arguments()
    for number in range(given.parallel):
        subprocess.run(["ip", "netns", "add", f"{given.prefix}-{number}"], check=True)
    plugin_figures = figures(given, plugins(given))
    with open(given.out, "w", encoding="utf-8") as file:
        json.dump({"rounds": given.rounds, "parallel": given.parallel, "plugins": plugin_figures}, file)
    for name, verbs in plugin_figures.items():
        for verb in verbs.values():
            if name.startswith("weft") and verb["parallel_errors"]:
                raise SystemExit(f"{name}: {len(verb['parallel_errors'])} failed at once: {verb['parallel_errors'][0]}")


main()
