# shellcheck shell=bash
# What goes wrong in clusters, done on purpose: each is named where an operator looks, and stops nothing that runs.

kube_mistakes() {
    local started=$SECONDS
    find_binaries
    kube_namespace weft-mistakes
    { kube_pod_json one kn1 && kube_pod_json near kn1 && kube_pod_json two kn2; } | in_ns apply -f - >/dev/null
    in_ns wait --for=condition=Ready pod --all --timeout=120s >/dev/null
    kube_outage_policy only-near '["one"]' '["near", "two"]'
    KUBE_ONE=$(pod_address one)
    check 'before: all is well' kube_mistakes_well
    kube_mistakes_unreachable
    kube_mistakes_clock
    kube_mistakes_rights
    kube_mistakes_two_networks
    kube_mistakes_range
    kube_mistakes_policy
    kube_mistakes_node
    check 'after: all is well' wait_until 60 kube_mistakes_well
    kube_namespace_delete weft-mistakes
    kube_summary "$started"
}

# kube_mistakes_runs: what ran goes on, within the node and between nodes. No API server is asked.
kube_mistakes_runs() {
    kube_outage_in weft-mistakes near kn1 "${FETCH[@]}" --max-time 2 "http://$KUBE_ONE:8080/" &&
        kube_outage_in weft-mistakes two kn2 "${FETCH[@]}" --max-time 2 "http://$KUBE_ONE:8080/"
}

kube_mistakes_well() {
    local node
    kube_mistakes_runs || return 1
    for node in "${KUBE_NODES[@]}"; do
        is '[]' kube_mistakes_warnings "$node" && kube_api_connected "$node" || return 1
    done
}
kube_mistakes_warnings() { kube_weft "$1" status --json | jq -c .warnings; }

# kube_mistakes_says NODE TEXT: whether the status of a node says so, for people.
kube_mistakes_says() {
    local said
    said=$(kube_weft "$1" status) || { say "$said" && return 1; }
    grep -qiE -- "$2" <<<"$said" || { say "$said" && return 1; }
}

# kube_mistakes_show NODE: the line itself.
kube_mistakes_show() { kube_weft "$1" status --json | jq -r '.kubernetes | "      \(.state): \(.detail)"'; }

# kube_mistakes_restart NODE: kills its daemon; its kubelet starts another one, API server or not.
kube_mistakes_restart() {
    local now pid
    pid=$(kube_mistakes_daemon "$1") || return 1
    kill -TERM "$pid"
    # shellcheck disable=SC2317
    another() { now=$(kube_mistakes_daemon "$1") && [[ $now != "$2" ]] && kube_weft "$1" status; }
    wait_until 90 another "$1" "$pid"
}

# kube_mistakes_daemon NODE: the process of its daemon.
kube_mistakes_daemon() {
    local pid
    for pid in $(kube_on "$1" ctr -n k8s.io tasks ls | awk '$3 == "RUNNING" { print $2 }'); do
        if [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *'weft launch'* ]]; then printf '%s\n' "$pid" && return 0; fi
    done
    return 1
}

# A daemon that starts while the API server is away.
kube_mistakes_unreachable() {
    heading 'the API server cannot be reached when the daemon starts'
    trap kube_apiserver_back EXIT
    kube_apiserver_down
    check 'the daemon starts' kube_mistakes_restart kn1
    check 'status says that the API server does not answer' wait_until 30 kube_mistakes_says kn1 'api server'
    kube_mistakes_show kn1
    check 'what ran goes on' wait_until 20 kube_mistakes_runs
    check 'policies too: who is not named is refused' kube_mistakes_refused
    kube_apiserver_back
    trap - EXIT
    check 'when it is back, all is well' wait_until 60 kube_mistakes_well
}

# kube_mistakes_refused: nobody but near and two is let in by the policy; the machine outside stands for nobody.
kube_mistakes_refused() {
    ip -n "$KUBE_SWITCH" route replace "$KUBE_ONE" via "$(kube_node_address kn1)" dev underlay
    local result=0
    ! kube_control "${FETCH[@]}" --max-time 1.5 "http://$KUBE_ONE:8080/" || result=1
    ip -n "$KUBE_SWITCH" route del "$KUBE_ONE"
    return "$result"
}

# Clocks that are apart show as a certificate that is not valid yet, or no more.
kube_mistakes_clock() {
    heading 'the clocks are an hour apart: the certificate of the API server is not valid yet'
    kube_mistakes_certificate
    trap kube_apiserver_back EXIT
    kube_apiserver_down
    kube_apiserver_up early
    kube_wait 120 kube-apiserver kubectl --insecure-skip-tls-verify get --raw /readyz
    check 'status says so, and what to look at' wait_until 60 kube_mistakes_says kn1 'not valid yet|clock'
    kube_mistakes_show kn1
    check 'what ran goes on' kube_mistakes_runs
    kube_apiserver_down
    kube_apiserver_back
    trap - EXIT
    check 'when the clocks agree, all is well' wait_until 60 kube_mistakes_well
}

# kube_mistakes_certificate: one like the API server's, from an hour from now on.
kube_mistakes_certificate() {
    local dir=$KUBE_DIR/pki
    cp -- "$dir/apiserver.key" "$dir/early.key"
    mkdir -p "$dir/early"
    : >"$dir/early/index"
    openssl req -new -key "$dir/early.key" -subj /CN=kube-apiserver -out "$dir/early.csr" 2>/dev/null
    openssl ca -batch -notext -in "$dir/early.csr" -out "$dir/early.crt" -cert "$dir/ca.crt" -keyfile "$dir/ca.key" \
        -startdate "$(date -u -d '+1 hour' +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d '+1 day' +%Y%m%d%H%M%SZ)" -outdir "$dir/early" \
        -config <(printf '[ca]\ndefault_ca=a\n[a]\ndatabase=%s\ndefault_md=sha256\nrand_serial=yes\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:%s,IP:10.96.0.1\nextendedKeyUsage=serverAuth\n' \
            "$dir/early/index" "$KUBE_CONTROL_ADDRESS") 2>/dev/null || die 'no certificate of the future could be made'
}

# A right that is missing: its verb and its resource are named.
kube_mistakes_rights() {
    heading 'the service account may not list NetworkPolicies'
    kubectl get clusterrole weft -o json | jq '.rules |= map(select(.resources != ["networkpolicies"]))' | kubectl apply -f - >/dev/null 2>&1
    check 'the daemon starts' kube_mistakes_restart kn1
    check 'status names verb and resource' wait_until 30 kube_mistakes_says kn1 'list.*networkpolicies'
    kube_mistakes_show kn1
    # After the 30 s for which a server may be restarting.
    check 'its readiness says so too' wait_until 45 kube_mistakes_unready kn1
    check 'what ran goes on' wait_until 20 kube_mistakes_runs
    check 'policies too' kube_mistakes_refused
    sed -n '/^kind: ClusterRole$/,/^---/p' "$WEFT_REPO/deploy/kubernetes/weft.yaml" | sed '1i apiVersion: rbac.authorization.k8s.io/v1' |
        sed '/^---/d' | kubectl apply -f - >/dev/null 2>&1
    check 'when it may, all is well' wait_until 90 kube_mistakes_well
}

kube_mistakes_unready() { ! kube_on "$1" "${FETCH[@]}" http://127.0.0.1:6782/readyz; }

# A second network's configuration beside ours.
kube_mistakes_two_networks() {
    local file
    heading 'another CNI has its configuration beside ours'
    file=$(kube_node_dir kn2)/etc-cni/net.d/05-other.conflist
    printf '{"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "bridge"}]}\n' >"$file"
    check 'an Event on the Pod of Weft names it' wait_until 90 kube_mistakes_event 05-other.conflist
    check 'what ran goes on' kube_mistakes_runs
    rm -f -- "$file"
}

# kube_mistakes_event TEXT: whether an Event says so.
kube_mistakes_event() { kubectl get events --all-namespaces -o json | jq -e --arg text "$1" '[.items[].message // "" | select(contains($text))] | length > 0'; }

# Ranges that are in use otherwise, on a machine that is new; it has a secret of its own, so that the mesh does not take it.
kube_mistakes_range() {
    heading 'the range overlaps the network of the nodes, or that of the Services'
    kube_mistakes_machine
    kube_mistakes_launch 10.98.0.0/16
    check "the nodes' network: the daemon ends, and names it" wait_until 20 kube_mistakes_refuses '10\.98\.0\.0/24'
    tail -n 1 "$(kube_log mistake)" | sed 's/^/      /'
    kube_mistakes_launch 10.96.0.0/15
    check "the Services' range: status names it" wait_until 20 kube_mistakes_warns "the cluster's Services: the API server's is 10.96.0.1"
    stop_process "$(kube_pid mistake)" TERM 10 || true
    ip netns del "$KUBE_MISTAKE"
    check 'what ran goes on' kube_mistakes_runs
}

readonly KUBE_MISTAKE=weft-kube-mistake

kube_mistakes_machine() {
    mkdir -p "$KUBE_DIR/mistake"
    "$WEFT_BIN_DIR/weft" secret new >"$KUBE_DIR/mistake/secret"
    ip netns add "$KUBE_MISTAKE"
    ip link add eth0 netns "$KUBE_MISTAKE" type veth peer name mistake netns "$KUBE_SWITCH"
    ip -n "$KUBE_SWITCH" link set mistake master underlay up
    ip -n "$KUBE_MISTAKE" address add 10.98.0.9/24 dev eth0
    ip -n "$KUBE_MISTAKE" link set lo up
    ip -n "$KUBE_MISTAKE" link set eth0 up
}

# kube_mistakes_launch RANGES: a daemon as the DaemonSet starts it, but for its port: the nodes do not answer there.
kube_mistakes_launch() {
    rm -rf -- "$KUBE_DIR/mistake/data"
    rm -f -- "$(kube_log mistake)"
    kube_start mistake nsenter --net="/run/netns/$KUBE_MISTAKE" -- env KUBERNETES_SERVICE_HOST=10.96.0.1 KUBERNETES_SERVICE_PORT=443 \
        "$WEFT_BIN_DIR/weft" --socket "$KUBE_DIR/mistake/weft.sock" launch --kubeconfig "$KUBE_DIR/admin.kubeconfig" \
        --kubernetes-node kn9 --ipalloc-range "$1" --data-dir "$KUBE_DIR/mistake/data" --port 6799 --secret-file "$KUBE_DIR/mistake/secret"
}

kube_mistakes_refuses() { ! our_process "$(kube_pid mistake)" && tail -n 1 "$(kube_log mistake)" | grep -qE -- "$1"; }
kube_mistakes_warns() { "$WEFT_BIN_DIR/weft" --socket "$KUBE_DIR/mistake/weft.sock" status --json | jq -re '.warnings[]' | grep -F -- "$1"; }

# A policy that the API has and Weft cannot read: such as one that a later API server stored, which knows more operators. It is
# put where that one would have: into etcd.
kube_mistakes_policy() {
    heading 'a policy that the API has and Weft cannot read'
    jq -cn '{apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy",
        metadata: {name: "odd", namespace: "weft-mistakes", uid: "11111111-2222-3333-4444-555555555555", creationTimestamp: "2020-01-01T00:00:00Z"},
        spec: {podSelector: {matchLabels: {pod: "near"}}, policyTypes: ["Ingress"],
            ingress: [{from: [{podSelector: {matchExpressions: [{key: "pod", operator: "Like", values: ["two"]}]}}]}]}}' |
        jq -Rc '{key: ("/registry/networkpolicies/weft-mistakes/odd" | @base64), value: @base64}' |
        kube_control "${FETCH[@]}" --data-binary @- http://127.0.0.1:2379/v3/kv/put >/dev/null
    check 'status names the policy and the field' wait_until 30 kube_mistakes_says kn1 'weft-mistakes/odd.*operator'
    kube_weft kn1 status --json | jq -r '.warnings[] | "      \(.)"'
    check 'an Event on the policy says so' wait_until 60 kube_mistakes_policy_event
    kubectl --namespace weft-mistakes get events -o json | jq -r '.items[] | select(.involvedObject.kind == "NetworkPolicy") | "      \(.reason): \(.message)"'
    check 'whom it selects is closed' wait_until 20 kube_mistakes_closed
    check 'what ran goes on' kube_mistakes_runs
    in_ns delete networkpolicy odd >/dev/null
    check 'when it is deleted, all is well' wait_until 60 kube_mistakes_well
    check 'and open again' wait_until 20 kube_mistakes_opened
}

kube_mistakes_policy_event() {
    in_ns get events -o json | jq -e '[.items[] | select(.involvedObject.kind == "NetworkPolicy" and .involvedObject.name == "odd" and .type == "Warning")] | length == 1'
}
kube_mistakes_opened() { kube_outage_in weft-mistakes two kn2 "${FETCH[@]}" --max-time 1.5 "http://$(pod_address near):8080/"; }
kube_mistakes_closed() { ! kube_mistakes_opened; }

# A Node object that is deleted while the node lives.
kube_mistakes_node() {
    heading 'the Node object of a node that lives is deleted by mistake'
    kubectl delete node kn2 --timeout=60s >/dev/null
    check 'status on the other node says so' wait_until 30 kube_mistakes_says kn1 'kn2'
    kube_weft kn1 status | tail -n 12 | sed 's/^/      /'
    check 'what ran goes on' kube_mistakes_runs
    # The kubelet makes its Node anew when it starts.
    stop_process "$(kube_pid kubelet-kn2)" TERM 20 || true
    kube_kubelet_up kn2
    check 'the kubelet makes the Node again' wait_until 60 kubectl wait --for=condition=Ready node/kn2 --timeout=1s
    check 'its Pods are reached' wait_until 60 kube_mistakes_runs
}
