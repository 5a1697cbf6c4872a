# shellcheck shell=bash
# A node that is deleted and replaced by a new machine under the same name, again and again: nothing of the old ones stays.

# kube_replace TIMES
kube_replace() {
    local times=$1 started=$SECONDS round
    [[ $times =~ ^[1-9][0-9]?$ ]] || usage_error 'replace: a number from 1 to 99'
    find_binaries
    kube_namespace weft-replace
    { kube_pod_json stays kn1 && kube_pod_json goes kn2; } | in_ns apply -f - >/dev/null
    in_ns wait --for=condition=Ready pod --all --timeout=120s >/dev/null
    for ((round = 1; round <= times; round++)); do kube_replace_once "$round"; done
    kube_namespace_delete weft-replace
    check 'no address is left but those of Pods on kn1' wait_until 60 kube_tidy kn1
    check 'no address is left but those of Pods on kn2' wait_until 60 kube_tidy kn2
    kube_summary "$started"
}

kube_replace_once() {
    local before begun=$SECONDS
    before=$(kube_weft kn2 status --json | jq -r .router.name)
    kube_node_off kn2
    kubectl delete node kn2 --timeout=60s >/dev/null
    kube_node_wipe kn2
    kube_node_on kn2
    check "$1: the new machine is Ready, under the same name" wait_until 180 kube_replace_ready "$before"
    # Pods that were bound to the name run on the new machine, or were collected; one that is there has an address.
    in_ns get pod goes >/dev/null 2>&1 || kube_pod_json goes kn2 | in_ns apply -f - >/dev/null
    check "$1: a Pod on it is reached, and reaches the other node" wait_until 120 kube_replace_reached
    # The former machine is removed when it has been out of reach for a minute.
    check "$1: all addresses of the range are owned by the two that live" wait_until 180 kube_replace_owned kn1 kn2
    check "$1: status is clean on both" wait_until 60 kube_replace_clean
    check "$1: each Pod has its address, and nobody else has one" wait_until 120 kube_replace_tidy
    say "      in $((SECONDS - begun)) s: kn1 owns $(kube_weft kn1 status --json | jq .ipam.owned), kn2 $(kube_weft kn2 status --json | jq .ipam.owned)"
}

kube_replace_ready() {
    local name
    name=$(kube_weft kn2 status --json | jq -r .router.name) && [[ $name != "$1" ]] &&
        kubectl wait --for=condition=Ready node/kn2 --timeout=1s
}

kube_replace_reached() {
    pod_run stays "${FETCH[@]}" "http://$(pod_address goes):8080/" && pod_run goes "${FETCH[@]}" "http://$(pod_address stays):8080/"
}

# kube_replace_owned NODE...: whether these own the whole range between them.
kube_replace_owned() {
    local node sum=0 size=0 range
    for node in "$@"; do sum=$((sum + $(kube_weft "$node" status --json | jq .ipam.owned))); done
    for range in $(kube_families "$KUBE_POD_RANGE" "$KUBE_POD_RANGE6" | tr , ' '); do
        if [[ $range != *:* ]]; then size=$((1 << (32 - ${range#*/}))); fi
    done
    is "$size" printf '%s\n' "$sum"
}

# kube_replace_clean: two members, connected, nothing pending, no warning.
kube_replace_clean() {
    local node
    for node in "${KUBE_NODES[@]}"; do
        is '{"ready":true,"peers":2,"established":1,"pending":0,"warnings":[]}' kube_replace_status "$node" || return 1
    done
}

kube_replace_status() {
    kube_weft "$1" status --json | jq -c '{ready, peers: .router.peers, established: .router.connections.established,
        pending: [.ipam.removals[] | select(.complete | not)] | length, warnings}'
}

kube_replace_tidy() { kube_tidy kn1 && kube_tidy kn2; }
