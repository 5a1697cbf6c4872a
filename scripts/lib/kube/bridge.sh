# shellcheck shell=bash
# Another network in the place of Weft, for comparison: Debian's bridge and host-local, a range for each node, and a route
# between the two. No policies, no encryption, no dual stack.

kube_bridge_up() {
    local node other plugin dir number
    ! kube_dual || die 'up: --network bridge knows IPv4 only'
    say "Installing bridge and host-local"
    for node in "${KUBE_NODES[@]}"; do
        dir=$(kube_node_dir "$node")
        number=${node#kn}
        for plugin in bridge host-local; do cp -- "/usr/lib/cni/$plugin" "$dir/opt/cni/bin/"; done
        # All else is as `weft setup-cni` has it.
        jq -n --arg subnet "10.32.$number.0/24" '{cniVersion: "1.0.0", name: "bridge", plugins: [
            {type: "bridge", bridge: "cni0", isGateway: true, ipMasq: true, hairpinMode: true,
                ipam: {type: "host-local", ranges: [[{$subnet}]], routes: [{dst: "0.0.0.0/0"}]}},
            {type: "portmap", snat: true, capabilities: {portMappings: true}}]}' >"$dir/etc-cni/net.d/10-bridge.conflist"
        for other in "${KUBE_NODES[@]}"; do
            [[ $other != "$node" ]] || continue
            ip -n "$(kube_node_ns "$node")" route add "10.32.${other#kn}.0/24" via "$(kube_node_address "$other")"
        done
    done
    kubectl wait --for=condition=Ready nodes --all --timeout=60s >/dev/null || die 'a node is not Ready: scripts/kube-lab kubectl describe nodes'
}
