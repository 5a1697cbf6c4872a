# shellcheck shell=bash
# The DaemonSet replaced, node by node, under traffic that does not pause.

readonly KUBE_ROLLOUT_PORT=7001

# kube_rollout ROUNDS FILE: writes to FILE what became of the traffic, round by round, in JSON.
kube_rollout() {
    local rounds=$1 file=$2 node round
    [[ $rounds =~ ^[1-9][0-9]?$ ]] || usage_error 'rollout: a number of rounds from 1 to 99, and a file'
    : >"$file" || die "cannot write $file"
    find_binaries
    kube_namespace weft-rollout
    # On each node a server, a client whom the policy lets in, and a stranger.
    for node in "${KUBE_NODES[@]}"; do
        kube_pod_json "server-$node" "$node"
        kube_pod_json "client-$node" "$node"
        kube_pod_json "stranger-$node" "$node"
    done | in_ns apply -f - >/dev/null
    in_ns wait --for=condition=Ready pod --all --timeout=120s >/dev/null
    kube_outage_policy only-clients '["server-kn1", "server-kn2"]' '["client-kn1", "client-kn2"]'
    for node in "${KUBE_NODES[@]}"; do kube_traffic "serve-$node" "$node" "server-$node" serve "$KUBE_ROLLOUT_PORT"; done
    wait_until 30 kube_rollout_closed || die 'the policy is not in force'
    for ((round = 1; round <= rounds; round++)); do kube_rollout_once "$round" >>"$file.rounds"; done
    jq -s . "$file.rounds" >"$file" && rm -- "$file.rounds"
    for node in "${KUBE_NODES[@]}"; do stop_process "$(kube_pid "serve-$node")" TERM 5 || true; done
    kube_namespace_delete weft-rollout
}

kube_rollout_closed() {
    ! kube_outage_in weft-rollout stranger-kn1 kn1 "${FETCH[@]}" --max-time 1 "http://$(pod_address server-kn2):8080/" &&
        ! kube_outage_in weft-rollout stranger-kn2 kn2 "${FETCH[@]}" --max-time 1 "http://$(pod_address server-kn1):8080/"
}

# kube_rollout_once ROUND: prints the round's figures as one object; words for people go to stderr.
kube_rollout_once() {
    local node other address begun took allowed=() denied=()
    for node in "${KUBE_NODES[@]}"; do
        allowed=() denied=()
        for other in "${KUBE_NODES[@]}"; do
            address=$(pod_address "server-$other")
            allowed+=("ping=$address" "stream=$address:$KUBE_ROLLOUT_PORT" "connect=$address:$KUBE_ROLLOUT_PORT")
            denied+=("denied=$address:$KUBE_ROLLOUT_PORT")
        done
        rm -f -- "$(kube_figures "client-$node").ready"
        kube_traffic "client-$node" "$node" "client-$node" send "$(kube_figures "client-$node")" "${allowed[@]}"
        kube_traffic "stranger-$node" "$node" "stranger-$node" send "$(kube_figures "stranger-$node")" "${denied[@]}"
    done
    for node in "${KUBE_NODES[@]}"; do kube_wait 30 "client-$node" test -e "$(kube_figures "client-$node").ready"; done
    begun=$EPOCHREALTIME
    kubectl --namespace "$KUBE_WEFT_NAMESPACE" rollout restart daemonset/weft >/dev/null
    kubectl --namespace "$KUBE_WEFT_NAMESPACE" rollout status daemonset/weft --timeout=240s >/dev/null || die 'the rollout does not end'
    # The Pods that were replaced end after the rollout has.
    wait_until 60 kube_rollout_ended || die 'the former Pods do not end'
    took=$(awk -v from="$begun" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')
    # What is late by a pause shows in the seconds after it.
    sleep 3
    for node in "${KUBE_NODES[@]}"; do
        kube_traffic_figures "client-$node" | kube_rollout_named "$node"
        kube_traffic_figures "stranger-$node" | kube_rollout_named "$node"
    done | jq -cs --argjson seconds "$took" --argjson round "$1" '{round: $round, seconds: $seconds, probes: add}'
    say "  round $1: replaced on both nodes in $took s" >&2
}

kube_rollout_ended() {
    is "${#KUBE_NODES[@]}" eval "kubectl --namespace '$KUBE_WEFT_NAMESPACE' get pods --selector app.kubernetes.io/name=weft --no-headers | wc -l"
}

# kube_rollout_named NODE: adds to each probe whence it came and whether that is the node of its target.
kube_rollout_named() {
    jq -c --arg node "$1" --arg here "$(pod_address "server-$1")" '
        map(. + {from: $node, same_node: ((.target | split(":")[0]) == $here)})'
}
