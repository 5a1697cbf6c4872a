# shellcheck shell=bash
# Many nodes' watches on a real API server, and the bytes that it sends them. A control plane alone, and a process for all
# nodes, in a network namespace of its own whose link counts.

readonly KUBE_HERD=weft-kube-herd
readonly KUBE_HERD_ADDRESS=10.98.0.100
# What is in the cluster besides nodes: Pods a node, namespaces, policies.
readonly KUBE_HERD_PODS=10 KUBE_HERD_NAMESPACES=20 KUBE_HERD_POLICIES=100
# How often a kubelet tells of its node if nothing changes (nodeStatusReportFrequency), and for how long that is watched.
readonly KUBE_HERD_REPORT=300 KUBE_HERD_SECONDS=60

# kube_herd NODES FILE PROGRAM: PROGRAM is the example `herd` of weft-kubernetes. Writes the figures to FILE in JSON. The
# lab is taken down by the caller.
kube_herd() {
    local nodes=$1 file=$2 program=$3 half
    [[ $nodes =~ ^[1-9][0-9]{1,3}$ ]] || usage_error 'herd: a number of nodes from 10 to 9999, a file, a program'
    : >"$file" || die "cannot write $file"
    require_root "the Kubernetes lab"
    [[ ! -e $KUBE_DIR ]] || die "the lab is up already, or was not taken down: scripts/kube-lab down"
    kube_build etcd kube-apiserver kubectl
    half=$((nodes / 2))
    kube_herd_up
    {
        kube_herd_fill 0 "$half"
        say "$half nodes" >&2
        kube_herd_start "$half" "$program"
        kube_herd_stop
        kube_herd_fill "$half" "$nodes"
        say "$nodes nodes" >&2
        kube_herd_start "$nodes" "$program"
        kube_herd_rest "$nodes"
        kube_herd_change "$nodes"
        kube_herd_restart "$nodes"
        kube_herd_stop
    } | jq -s --argjson nodes "$nodes" --argjson pods "$KUBE_HERD_PODS" --argjson policies "$KUBE_HERD_POLICIES" \
        --argjson namespaces "$KUBE_HERD_NAMESPACES" --argjson report "$KUBE_HERD_REPORT" '
        {nodes: $nodes, pods_a_node: $pods, policies: $policies, namespaces: $namespaces, report_s: $report, measures: .}' >"$file"
}

kube_herd_up() {
    mkdir -p "$KUBE_DIR"/{log,pid}
    chmod 0700 "$KUBE_DIR"
    ip netns add "$KUBE_SWITCH"
    ip -n "$KUBE_SWITCH" link set lo up
    ip -n "$KUBE_SWITCH" link add underlay type bridge mcast_snooping 0
    ip -n "$KUBE_SWITCH" address add "$KUBE_CONTROL_ADDRESS/24" dev underlay
    ip -n "$KUBE_SWITCH" link set underlay up
    ip netns add "$KUBE_HERD"
    ip link add eth0 netns "$KUBE_HERD" type veth peer name herd netns "$KUBE_SWITCH"
    ip -n "$KUBE_SWITCH" link set herd master underlay up
    ip -n "$KUBE_HERD" address add "$KUBE_HERD_ADDRESS/24" dev eth0
    ip -n "$KUBE_HERD" link set eth0 up
    kube_credentials_control
    kube_start etcd nsenter --net="/run/netns/$KUBE_SWITCH" -- "$(kube_bin)/etcd" -data-dir "$KUBE_DIR/etcd"
    kube_herd_apiserver
}

# No controllers make service accounts here.
kube_herd_apiserver() {
    kube_apiserver_up apiserver --disable-admission-plugins=ServiceAccount
    kube_wait 120 kube-apiserver kubectl get --raw /readyz
}

# kube_herd_fill FROM TO: nodes herd-FROM to herd-TO and their Pods; all else with the first.
kube_herd_fill() {
    python3 -B "$WEFT_REPO/scripts/lib/kube/herd.py" "$1" "$2" "$KUBE_HERD_PODS" "$KUBE_HERD_NAMESPACES" "$KUBE_HERD_POLICIES" >"$KUBE_DIR/herd.json"
    kubectl create -f "$KUBE_DIR/herd.json" >/dev/null
}

# kube_herd_counted MEASURE NODES COMMAND...: runs COMMAND, waits until nothing more comes, and prints what came meanwhile.
kube_herd_counted() {
    local measure=$1 nodes=$2 before begun
    shift 2
    before=$(kube_herd_bytes) begun=$EPOCHREALTIME
    "$@" || die "$measure: $(tail -n 1 "$(kube_log herd)")"
    kube_herd_print "$measure" "$nodes" "$before" "$begun"
}

# kube_herd_print MEASURE NODES BEFORE BEGUN
kube_herd_print() {
    jq -nc --arg measure "$1" --argjson nodes "$2" --argjson before "$3" --argjson after "$(kube_herd_bytes)" --argjson begun "$4" \
        --argjson ended "$EPOCHREALTIME" '{measure: $measure, nodes: $nodes, bytes: ($after - $before), seconds: ($ended - $begun)}'
}

# What the link has brought to the herd, in bytes.
kube_herd_bytes() { ip -n "$KUBE_HERD" -json -stats link show dev eth0 | jq '.[0].stats64.rx.bytes'; }

# kube_herd_sums: the sums that the herd printed last.
kube_herd_sums() { tail -n 1 "$(kube_log herd)"; }

# kube_herd_quiet: waits until next to nothing comes any more.
kube_herd_quiet() {
    local before after
    before=$(kube_herd_bytes)
    for _ in {1..60}; do
        sleep 2
        after=$(kube_herd_bytes)
        if ((after - before < 20000)); then return 0; fi
        before=$after
    done
    return 1
}

kube_herd_all_watch() { kube_herd_sums | jq -e '.working == .watches'; }

kube_herd_begin() {
    rm -f -- "$(kube_log herd)"
    kube_start herd nsenter --net="/run/netns/$KUBE_HERD" -- "$2" "$KUBE_DIR/admin.kubeconfig" "$1"
    # shellcheck disable=SC2317
    all_named() { kube_herd_sums | jq -e --argjson nodes "$1" '.working == .watches and .named >= $nodes'; }
    wait_until 300 all_named "$1" && kube_herd_quiet
}

# kube_herd_start NODES PROGRAM: from nothing until all watch, and each knows who all the others are.
kube_herd_start() { kube_herd_counted start "$1" kube_herd_begin "$1" "$2"; }

kube_herd_stop() {
    stop_process "$(kube_pid herd)" TERM 10 || true
    # The next ones begin as new ones do.
    kubectl annotate nodes --all weft.network/peer- >/dev/null
}

# kube_herd_rest NODES: at rest, without and with the reports of the kubelets.
kube_herd_rest() {
    kube_herd_counted idle "$1" sleep "$KUBE_HERD_SECONDS"
    kube_herd_counted report "$1" kube_herd_report $((KUBE_HERD_SECONDS * $1 / KUBE_HERD_REPORT))
}

# kube_herd_report TIMES: so many kubelets tell of their nodes, in the time of the measure.
kube_herd_report() {
    local number
    for ((number = 0; number < $1; number++)); do
        kubectl patch node "herd-$number" --subresource=status --type=strategic --patch \
            "{\"status\": {\"conditions\": [{\"type\": \"Ready\", \"status\": \"True\", \"lastHeartbeatTime\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"}]}}" >/dev/null
        sleep "$(awk -v seconds="$KUBE_HERD_SECONDS" -v times="$1" 'BEGIN { print seconds / times }')"
    done
}

# kube_herd_change NODES: one object of each kind changes; the bytes of the idle second between are in it.
kube_herd_change() {
    kube_herd_counted policy "$1" kube_herd_applied "$1" kubectl --namespace herd-0 annotate networkpolicy policy-0 "weft.test/at=$EPOCHREALTIME"
    kube_herd_counted namespace "$1" kube_herd_applied "$1" kubectl label namespace herd-0 --overwrite "at=${EPOCHREALTIME/./-}"
    kube_herd_counted pod "$1" kube_herd_applied 1 kubectl --namespace herd-0 label pod pod-0-0 --overwrite "at=${EPOCHREALTIME/./-}"
}

# kube_herd_applied TIMES COMMAND...: waits until so many nodes have heard of what COMMAND does.
kube_herd_applied() {
    local before
    before=$(kube_herd_sums | jq .applied)
    # shellcheck disable=SC2317
    heard() { (($(kube_herd_sums | jq .applied) >= $1)); }
    "${@:2}" >/dev/null
    wait_until 60 heard $((before + $1))
}

# kube_herd_restart NODES: the API server dies and is started again; until all watch again. Prints also how many seconds after
# it answered that was.
kube_herd_restart() {
    kube_herd_counted restart "$1" kube_herd_again
    jq -nc --argjson nodes "$1" --argjson from "$KUBE_HERD_ANSWERED" --argjson to "$KUBE_HERD_WATCHED" '
        {measure: "watching again", nodes: $nodes, bytes: null, seconds: ($to - $from)}'
}

kube_herd_again() {
    kube_apiserver_down
    # shellcheck disable=SC2317
    none_watches() { kube_herd_sums | jq -e '.working == 0'; }
    wait_until 60 none_watches || return 1
    kube_herd_apiserver
    KUBE_HERD_ANSWERED=$EPOCHREALTIME
    wait_until 300 kube_herd_all_watch || return 1
    KUBE_HERD_WATCHED=$EPOCHREALTIME
    kube_herd_quiet
}
