# shellcheck shell=bash
# The Pod network that Kubernetes expects, item by item, on the standing lab.

readonly KUBE_CHECK_NAMESPACE=weft-check

kube_check_objects() {
    kube_pod_json one kn1
    kube_pod_json two kn2
    kube_pod_json near kn1
    kube_pod_json hostport kn1 '{"port": {"hostPort": 9090}}'
    kube_pod_json hostnetwork kn2 '{"spec": {"hostNetwork": true}}'
    kube_service_json one one
    kube_service_json two two NodePort
}

kube_check() {
    local started=$SECONDS one two near port node
    find_binaries
    kube_namespace "$KUBE_CHECK_NAMESPACE"
    kube_check_objects | in_ns apply -f - >/dev/null
    check 'kubelets reach their Pods (probes): all become Ready' in_ns wait --for=condition=Ready pod --all --timeout=120s
    one=$(pod_address one) two=$(pod_address two) near=$(pod_address near)
    for node in "${KUBE_NODES[@]}"; do
        check "the network of $node is not unavailable" is False kubectl get node "$node" \
            -o jsonpath='{.status.conditions[?(@.type=="NetworkUnavailable")].status}'
    done
    check 'every Pod has an address of the range, and its own' different "$one" "$two" "$near" "$(pod_address hostport)"
    check 'a Pod sees its address as the API has it' grep -qw "$one" <(pod_run one ip -4 address show dev eth0)
    check 'Pod to Pod, same node, source kept' is "$near" seen_by pod_run near "${FETCH[@]}" "http://$one:8080/clientip"
    check 'Pod to Pod, other node, source kept' is "$two" seen_by pod_run two "${FETCH[@]}" "http://$one:8080/clientip"
    check 'node to its own Pod' kube_on kn1 "${FETCH[@]}" "http://$one:8080/"
    check "node to a Pod of the other node" kube_on kn1 "${FETCH[@]}" "http://$two:8080/"
    check 'Pod to its own node' pod_run one "${FETCH[@]}" -k "https://$(kube_node_address kn1):10250/healthz" -o /dev/null -w '' --no-fail
    check 'Pod to a hostNetwork Pod of the other node' pod_run one "${FETCH[@]}" "http://$(kube_node_address kn2):8080/"
    check 'hostNetwork Pod to a Pod of the other node' pod_run hostnetwork "${FETCH[@]}" "http://$one:8080/"
    check 'Pod to ClusterIP, backend on the same node, source kept' \
        is "$near" seen_by pod_run near "${FETCH[@]}" "http://$(service_address one)/clientip"
    check 'Pod to ClusterIP, backend on the other node, source kept' \
        is "$one" seen_by pod_run one "${FETCH[@]}" "http://$(service_address two)/clientip"
    check 'Pod to itself by its ClusterIP (hairpin)' pod_run one "${FETCH[@]}" "http://$(service_address one)/"
    check 'Pod to the API server by its Service' pod_run one "${FETCH[@]}" -k https://10.96.0.1/version -o /dev/null
    check 'node to ClusterIP' kube_on kn1 "${FETCH[@]}" "http://$(service_address two)/"
    port=$(in_ns get service two -o jsonpath='{.spec.ports[0].nodePort}')
    check 'outside to NodePort, backend on the node' kube_control "${FETCH[@]}" "http://$(kube_node_address kn2):$port/"
    check 'outside to NodePort, backend on the other node' kube_control "${FETCH[@]}" "http://$(kube_node_address kn1):$port/"
    check 'hostPort from outside' kube_control "${FETCH[@]}" "http://$(kube_node_address kn1):9090/"
    check 'hostPort from a Pod of the other node' pod_run two "${FETCH[@]}" "http://$(kube_node_address kn1):9090/"
    check 'hostPort from a Pod of the same node' pod_run one "${FETCH[@]}" "http://$(kube_node_address kn1):9090/"
    check 'hostPort from its own Pod (hairpin)' pod_run hostport "${FETCH[@]}" "http://$(kube_node_address kn1):9090/"
    check 'Pod to outside leaves under the address of its node' \
        kube_check_masquerade "$(kube_node_address kn1)" "$KUBE_CONTROL_ADDRESS"
    if kube_dual; then kube_check_dual; fi
    check 'exec and logs' grep -q . <(in_ns logs one --tail=1)
    check 'port-forward' kube_check_forward
    check 'a policy holds, and goes again' kube_check_policy "$one"
    check 'a rollout of Weft loses nothing between Pods of one node' kube_check_rollout "$near" "$two"
    say "      meanwhile, to a Pod of the other node: $(grep -o '.*packet loss' "$KUBE_DIR/log/ping-far"), one each 0.1 s"
    check 'Pods after the rollout: other node' pod_run two "${FETCH[@]}" "http://$one:8080/"
    check 'a deleted Pod gives its address back' kube_check_deleted near "$near"
    check 'an evicted Pod gives its address back' kube_check_evicted hostport "$(pod_address hostport)"
    check 'a node loses power and comes back: its Pods too, under new addresses, and none is left over' kube_check_reboot
    kube_namespace_delete "$KUBE_CHECK_NAMESPACE"
    kube_summary "$started"
}

# The same by IPv6.
kube_check_dual() {
    local one two near port
    one=$(pod_address6 one) two=$(pod_address6 two) near=$(pod_address6 near)
    check 'v6: every Pod has an address of the range' grep -q ^fd32: <(printf '%s\n' "$one")
    check 'v6: Pod to Pod, same node, source kept' is "$near" seen_by pod_run near "${FETCH[@]}" "http://[$one]:8080/clientip"
    check 'v6: Pod to Pod, other node, source kept' is "$two" seen_by pod_run two "${FETCH[@]}" "http://[$one]:8080/clientip"
    check 'v6: node to its own Pod' kube_on kn1 "${FETCH[@]}" "http://[$one]:8080/"
    check 'v6: node to a Pod of the other node' kube_on kn1 "${FETCH[@]}" "http://[$two]:8080/"
    check 'v6: Pod to a hostNetwork Pod of the other node' pod_run one "${FETCH[@]}" "http://[$(kube_node_address6 kn2)]:8080/"
    check 'v6: Pod to ClusterIP, backend on the same node, source kept' \
        is "$near" seen_by pod_run near "${FETCH[@]}" "http://[$(service_address6 one)]/clientip"
    check 'v6: Pod to ClusterIP, backend on the other node, source kept' \
        is "$one" seen_by pod_run one "${FETCH[@]}" "http://[$(service_address6 two)]/clientip"
    check 'v6: Pod to itself by its ClusterIP (hairpin)' pod_run one "${FETCH[@]}" "http://[$(service_address6 one)]/"
    port=$(in_ns get service two -o jsonpath='{.spec.ports[0].nodePort}')
    check 'v6: outside to NodePort, backend on the other node' kube_control "${FETCH[@]}" "http://[$(kube_node_address6 kn1)]:$port/"
    check 'v6: hostPort from outside' kube_control "${FETCH[@]}" "http://[$(kube_node_address6 kn1)]:9090/"
    check 'v6: Pod to outside leaves under the address of its node' \
        kube_check_masquerade "$(kube_node_address6 kn1)" "[$KUBE_CONTROL_ADDRESS6]"
}

# different ADDRESS...: all in the range of the Pods and no two the same.
different() {
    local address
    for address in "$@"; do
        [[ $address =~ ^10\.(3[2-9]|4[0-7])\. ]] || { say "$address is not of $KUBE_POD_RANGE" && return 1; }
    done
    [[ -z $(printf '%s\n' "$@" | sort | uniq -d) ]] || { say "twice: $*" && return 1; }
}

# kube_check_masquerade EXPECTED SERVER: what a server on the underlay sees of the Pod `one`.
kube_check_masquerade() {
    kube_start outside nsenter --net="/run/netns/$KUBE_SWITCH" -- "$(kube_bin)/agnhost" netexec --http-port=9099 --udp-port=-1
    wait_until 20 kube_control "${FETCH[@]}" "http://$2:9099/" || return 1
    is "$1" seen_by pod_run one "${FETCH[@]}" "http://$2:9099/clientip"
    local result=$?
    stop_process "$(kube_pid outside)" TERM 5
    return "$result"
}

kube_check_forward() {
    local result=0
    kube_start forward nsenter --net="/run/netns/$KUBE_SWITCH" -- "$(kube_bin)/kubectl" --kubeconfig "$KUBE_DIR/admin.kubeconfig" \
        --namespace "$KUBE_NAMESPACE" port-forward pod/two 9098:8080
    wait_until 20 kube_control "${FETCH[@]}" http://127.0.0.1:9098/ || result=1
    stop_process "$(kube_pid forward)" TERM 5
    return "$result"
}

# kube_check_policy ADDRESS: nobody may connect to Pods of the namespace; the node may, as its kubelet must.
kube_check_policy() {
    jq -n '{apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: {name: "nobody"},
        spec: {podSelector: {}, policyTypes: ["Ingress"]}}' | in_ns apply -f - || return 1
    # shellcheck disable=SC2317
    refused() { ! pod_run "$1" "${FETCH[@]}" --max-time 1 "http://$2:8080/"; }
    wait_until 20 refused two "$1" && wait_until 20 refused near "$1" || return 1
    kube_on kn1 "${FETCH[@]}" "http://$1:8080/" || return 1
    in_ns delete networkpolicy nobody || return 1
    wait_until 20 pod_run two "${FETCH[@]}" "http://$1:8080/"
}

# kube_check_rollout NEAR FAR: the Pod `one` pings a Pod of its node, and one of the other, while the DaemonSet restarts.
kube_check_rollout() {
    local near=$KUBE_DIR/log/ping-near pinger
    pod_run one ping -i 0.1 -w 40 -q "$2" >"$KUBE_DIR/log/ping-far" 2>&1 &
    pod_run one ping -i 0.1 -w 40 -q "$1" >"$near" 2>&1 &
    pinger=$!
    kubectl --namespace "$KUBE_WEFT_NAMESPACE" rollout restart daemonset/weft
    kubectl --namespace "$KUBE_WEFT_NAMESPACE" rollout status daemonset/weft --timeout=120s || return 1
    # A rollout that outlasts the pings proves nothing.
    kill -0 "$pinger" 2>/dev/null || { say 'the rollout took longer than 40 s' && return 1; }
    wait || true
    cat "$near"
    grep -q ' 0% packet loss' "$near"
}

# kube_check_deleted POD ADDRESS
kube_check_deleted() {
    in_ns delete pod "$1" --timeout=60s || return 1
    wait_until 10 kube_address_free kn1 "$2"
}

# kube_check_evicted POD ADDRESS
kube_check_evicted() {
    jq -n --arg name "$1" '{apiVersion: "policy/v1", kind: "Eviction", metadata: {$name}}' |
        kubectl create --raw "/api/v1/namespaces/$KUBE_NAMESPACE/pods/$1/eviction" -f - || return 1
    wait_until 60 kube_address_free kn1 "$2"
}

# kube_check_reboot: kn2 goes without a word. What its daemon had on disk is all that it has then.
kube_check_reboot() {
    local before after
    before=$(kube_weft kn2 status --json | jq -r .router.name)
    kube_node_off kn2
    kube_node_on kn2
    # The API server goes on saying Ready of Pods that are gone, until the kubelet is back.
    wait_until 180 kube_weft kn2 status || { say 'no daemon on kn2' && return 1; }
    after=$(kube_weft kn2 status --json | jq -r .router.name)
    [[ $before == "$after" ]] || { say "the node was $before and is $after" && return 1; }
    # shellcheck disable=SC2317
    reached() { pod_run one "${FETCH[@]}" "http://$(pod_address two):8080/"; }
    wait_until 120 reached || { say "Pod two is not reached" && in_ns get pods -o wide && return 1; }
    wait_until 120 kube_tidy kn2 || { kube_tidy kn2; kube_weft kn2 ps && return 1; }
}
