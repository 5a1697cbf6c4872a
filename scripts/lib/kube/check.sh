# shellcheck shell=bash
# The Pod network that Kubernetes expects, item by item, on the standing lab.

readonly KUBE_CHECK_NAMESPACE=weft-check
KUBE_PASSED=0
KUBE_FAILED=0

# check WHAT COMMAND...: runs one check; says what came out.
check() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok    %s\n' "$what"
        KUBE_PASSED=$((KUBE_PASSED + 1))
    else
        printf 'FAIL  %s\n' "$what"
        tail -n 8 <<<"$output" | sed 's/^/      /'
        KUBE_FAILED=$((KUBE_FAILED + 1))
    fi
}

in_check() { kubectl --namespace "$KUBE_CHECK_NAMESPACE" "$@"; }

# pod_run POD COMMAND...
pod_run() {
    local pod=$1
    shift
    in_check exec "$pod" -- "$@"
}

pod_address() { in_check get pod "$1" -o jsonpath='{.status.podIP}'; }
pod_address6() { in_check get pod "$1" -o jsonpath='{.status.podIPs[1].ip}'; }
service_address6() { in_check get service "$1" -o jsonpath='{.spec.clusterIPs[1]}'; }
service_address() { in_check get service "$1" -o jsonpath='{.spec.clusterIP}'; }

# is EXPECTED COMMAND...: what a command prints.
is() {
    local expected=$1 found
    shift
    found=$("$@") || return 1
    [[ $found == "$expected" ]] || { printf 'expected %s, found %s\n' "$expected" "$found" && return 1; }
}

# An address that a server has seen, without the port.
seen_by() { "$@" | sed 's/:[0-9]*$//; s/[][]//g'; }
fetch=(curl --silent --show-error --fail --max-time 5)

# check_pod NAME NODE [JSON]: a Pod that serves HTTP on 8080; JSON is merged into its spec.
check_pod() {
    jq -n --arg name "$1" --arg node "$2" --arg image "$KUBE_AGNHOST_IMAGE" --argjson more "${3:-{\}}" '{
        apiVersion: "v1", kind: "Pod", metadata: {name: $name, labels: {pod: $name}},
        spec: ({nodeName: $node, terminationGracePeriodSeconds: 1, containers: [{
            name: "agnhost", image: $image, args: ["netexec", "--http-port=8080", "--udp-port=-1"],
            ports: [{containerPort: 8080} + ($more.port // {})],
            readinessProbe: {httpGet: {path: "/", port: 8080}, periodSeconds: 1, failureThreshold: 60}}]} + ($more.spec // {}))}'
}

# check_service NAME POD [TYPE]
check_service() {
    jq -n --arg name "$1" --arg pod "$2" --arg type "${3:-ClusterIP}" '{apiVersion: "v1", kind: "Service",
        metadata: {$name}, spec: {$type, ipFamilyPolicy: "PreferDualStack", selector: {$pod}, ports: [{port: 80, targetPort: 8080}]}}'
}

kube_check_objects() {
    check_pod one kn1
    check_pod two kn2
    check_pod near kn1
    check_pod hostport kn1 '{"port": {"hostPort": 9090}}'
    check_pod hostnetwork kn2 '{"spec": {"hostNetwork": true}}'
    check_service one one
    check_service two two NodePort
}

kube_check() {
    local started=$SECONDS one two near port
    find_binaries
    kubectl delete namespace "$KUBE_CHECK_NAMESPACE" --ignore-not-found --timeout=120s >/dev/null
    kubectl create namespace "$KUBE_CHECK_NAMESPACE" >/dev/null
    # Pods are refused before their account is there.
    wait_until 30 in_check get serviceaccount default || die "the namespace gets no service account"
    kube_check_objects | in_check apply -f - >/dev/null
    check 'kubelets reach their Pods (probes): all become Ready' in_check wait --for=condition=Ready pod --all --timeout=120s
    one=$(pod_address one) two=$(pod_address two) near=$(pod_address near)
    check 'every Pod has an address of the range, and its own' different "$one" "$two" "$near" "$(pod_address hostport)"
    check 'a Pod sees its address as the API has it' grep -qw "$one" <(pod_run one ip -4 address show dev eth0)
    check 'Pod to Pod, same node, source kept' is "$near" seen_by pod_run near "${fetch[@]}" "http://$one:8080/clientip"
    check 'Pod to Pod, other node, source kept' is "$two" seen_by pod_run two "${fetch[@]}" "http://$one:8080/clientip"
    check 'node to its own Pod' kube_on kn1 "${fetch[@]}" "http://$one:8080/"
    check "node to a Pod of the other node" kube_on kn1 "${fetch[@]}" "http://$two:8080/"
    check 'Pod to its own node' pod_run one "${fetch[@]}" -k "https://$(kube_node_address kn1):10250/healthz" -o /dev/null -w '' --no-fail
    check 'Pod to a hostNetwork Pod of the other node' pod_run one "${fetch[@]}" "http://$(kube_node_address kn2):8080/"
    check 'hostNetwork Pod to a Pod of the other node' pod_run hostnetwork "${fetch[@]}" "http://$one:8080/"
    check 'Pod to ClusterIP, backend on the same node, source kept' \
        is "$near" seen_by pod_run near "${fetch[@]}" "http://$(service_address one)/clientip"
    check 'Pod to ClusterIP, backend on the other node, source kept' \
        is "$one" seen_by pod_run one "${fetch[@]}" "http://$(service_address two)/clientip"
    check 'Pod to itself by its ClusterIP (hairpin)' pod_run one "${fetch[@]}" "http://$(service_address one)/"
    check 'Pod to the API server by its Service' pod_run one "${fetch[@]}" -k https://10.96.0.1/version -o /dev/null
    check 'node to ClusterIP' kube_on kn1 "${fetch[@]}" "http://$(service_address two)/"
    port=$(in_check get service two -o jsonpath='{.spec.ports[0].nodePort}')
    check 'outside to NodePort, backend on the node' kube_control "${fetch[@]}" "http://$(kube_node_address kn2):$port/"
    check 'outside to NodePort, backend on the other node' kube_control "${fetch[@]}" "http://$(kube_node_address kn1):$port/"
    check 'hostPort from outside' kube_control "${fetch[@]}" "http://$(kube_node_address kn1):9090/"
    check 'hostPort from a Pod of the other node' pod_run two "${fetch[@]}" "http://$(kube_node_address kn1):9090/"
    check 'hostPort from a Pod of the same node' pod_run one "${fetch[@]}" "http://$(kube_node_address kn1):9090/"
    check 'hostPort from its own Pod (hairpin)' pod_run hostport "${fetch[@]}" "http://$(kube_node_address kn1):9090/"
    check 'Pod to outside leaves under the address of its node' \
        kube_check_masquerade "$(kube_node_address kn1)" "$KUBE_CONTROL_ADDRESS"
    if kube_dual; then kube_check_dual; fi
    check 'exec and logs' grep -q . <(in_check logs one --tail=1)
    check 'port-forward' kube_check_forward
    check 'a policy holds, and goes again' kube_check_policy "$one"
    check 'a rollout of Weft loses nothing between Pods of one node' kube_check_rollout "$near" "$two"
    say "      meanwhile, to a Pod of the other node: $(grep -o '.*packet loss' "$KUBE_DIR/log/ping-far"), one each 0.1 s"
    check 'Pods after the rollout: other node' pod_run two "${fetch[@]}" "http://$one:8080/"
    check 'a deleted Pod gives its address back' kube_check_deleted near "$near"
    check 'a node loses power and comes back: its Pods too, under new addresses, and none is left over' kube_check_reboot
    kubectl delete namespace "$KUBE_CHECK_NAMESPACE" --timeout=120s >/dev/null
    printf '\n%s passed, %s failed (in %s s)\n' "$KUBE_PASSED" "$KUBE_FAILED" $((SECONDS - started))
    ((KUBE_FAILED == 0))
}

# The same by IPv6.
kube_check_dual() {
    local one two near port
    one=$(pod_address6 one) two=$(pod_address6 two) near=$(pod_address6 near)
    check 'v6: every Pod has an address of the range' grep -q ^fd32: <(printf '%s\n' "$one")
    check 'v6: Pod to Pod, same node, source kept' is "$near" seen_by pod_run near "${fetch[@]}" "http://[$one]:8080/clientip"
    check 'v6: Pod to Pod, other node, source kept' is "$two" seen_by pod_run two "${fetch[@]}" "http://[$one]:8080/clientip"
    check 'v6: node to its own Pod' kube_on kn1 "${fetch[@]}" "http://[$one]:8080/"
    check 'v6: node to a Pod of the other node' kube_on kn1 "${fetch[@]}" "http://[$two]:8080/"
    check 'v6: Pod to a hostNetwork Pod of the other node' pod_run one "${fetch[@]}" "http://[$(kube_node_address6 kn2)]:8080/"
    check 'v6: Pod to ClusterIP, backend on the same node, source kept' \
        is "$near" seen_by pod_run near "${fetch[@]}" "http://[$(service_address6 one)]/clientip"
    check 'v6: Pod to ClusterIP, backend on the other node, source kept' \
        is "$one" seen_by pod_run one "${fetch[@]}" "http://[$(service_address6 two)]/clientip"
    check 'v6: Pod to itself by its ClusterIP (hairpin)' pod_run one "${fetch[@]}" "http://[$(service_address6 one)]/"
    port=$(in_check get service two -o jsonpath='{.spec.ports[0].nodePort}')
    check 'v6: outside to NodePort, backend on the other node' kube_control "${fetch[@]}" "http://[$(kube_node_address6 kn1)]:$port/"
    check 'v6: hostPort from outside' kube_control "${fetch[@]}" "http://[$(kube_node_address6 kn1)]:9090/"
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
    wait_until 20 kube_control "${fetch[@]}" "http://$2:9099/" || return 1
    is "$1" seen_by pod_run one "${fetch[@]}" "http://$2:9099/clientip"
    local result=$?
    stop_process "$(kube_pid outside)" TERM 5
    return "$result"
}

kube_check_forward() {
    local result=0
    kube_start forward nsenter --net="/run/netns/$KUBE_SWITCH" -- "$(kube_bin)/kubectl" --kubeconfig "$KUBE_DIR/admin.kubeconfig" \
        --namespace "$KUBE_CHECK_NAMESPACE" port-forward pod/two 9098:8080
    wait_until 20 kube_control "${fetch[@]}" http://127.0.0.1:9098/ || result=1
    stop_process "$(kube_pid forward)" TERM 5
    return "$result"
}

# kube_check_policy ADDRESS: nobody may connect to Pods of the namespace; the node may, as its kubelet must.
kube_check_policy() {
    local policy=$KUBE_DIR/policy.json
    jq -n --arg namespace "$KUBE_CHECK_NAMESPACE" '{apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy",
        metadata: {name: "nobody", $namespace}, spec: {podSelector: {}, policyTypes: ["Ingress"]}}' >"$policy"
    kube_weft kn2 policy apply -f "$policy" || return 1
    # shellcheck disable=SC2317
    refused() { ! pod_run "$1" "${fetch[@]}" --max-time 1 "http://$2:8080/"; }
    wait_until 20 refused two "$1" && wait_until 20 refused near "$1" || return 1
    kube_on kn1 "${fetch[@]}" "http://$1:8080/" || return 1
    kube_weft kn1 policy delete "$KUBE_CHECK_NAMESPACE/nobody" || return 1
    wait_until 20 pod_run two "${fetch[@]}" "http://$1:8080/"
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
    in_check delete pod "$1" --timeout=60s || return 1
    # shellcheck disable=SC2317
    gone() { ! kube_weft kn1 ps | grep -qw "$1"; }
    wait_until 10 gone "$2"
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
    reached() { pod_run one "${fetch[@]}" "http://$(pod_address two):8080/"; }
    # shellcheck disable=SC2317
    tidy() { is "$(kubectl get pods --all-namespaces --field-selector spec.nodeName=kn2 -o json | jq -r '
        .items[] | select(.spec.hostNetwork | not) | .status.podIP' | sort)" \
        kube_check_addresses kn2; }
    wait_until 120 reached || { say "Pod two is not reached" && in_check get pods -o wide && return 1; }
    wait_until 120 tidy || { tidy; kube_weft kn2 ps && return 1; }
}

# kube_check_addresses NODE: the IPv4 addresses of its Pods, as the daemon has them.
kube_check_addresses() {
    kube_weft "$1" ps --json | jq -r '.[] | select(.container | startswith("weft:") | not) | .ips[] | sub("/.*"; "") | select(contains(":") | not)' | sort
}
