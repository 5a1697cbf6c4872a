# shellcheck shell=bash
# shellcheck disable=SC2034 # for those who source this
# Pods on the standing lab, and what is asked of them: what the commands that check something share.

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

# in_ns ARGUMENT...: kubectl in the namespace of `kube_namespace`.
KUBE_NAMESPACE=
in_ns() { kubectl --namespace "$KUBE_NAMESPACE" "$@"; }

# kube_namespace NAME [LABEL]: a namespace that is new and ready for Pods, and the one of all that follows.
kube_namespace() {
    KUBE_NAMESPACE=$1
    kube_namespace_delete "$1"
    kubectl create namespace "$1" >/dev/null
    if [[ -n ${2:-} ]]; then kubectl label namespace "$1" "$2" >/dev/null; fi
    # Pods are refused before their account is there.
    wait_until 30 in_ns get serviceaccount default || die "the namespace $1 gets no service account"
}

kube_namespace_delete() {
    kubectl delete namespace "$1" --ignore-not-found --timeout=180s >/dev/null ||
        { kubectl get namespace "$1" -o json | jq -c .status && kubectl --namespace "$1" get pods -o wide && die "the namespace $1 does not go"; }
}

# kube_summary STARTED: the last line of a command that checked things; fails where one of them failed.
kube_summary() {
    printf '\n%s passed, %s failed (in %s s)\n' "$KUBE_PASSED" "$KUBE_FAILED" $((SECONDS - $1))
    ((KUBE_FAILED == 0))
}

# pod_run POD COMMAND...
pod_run() {
    local pod=$1
    shift
    in_ns exec "$pod" -- "$@"
}

pod_address() { in_ns get pod "$1" -o jsonpath='{.status.podIP}'; }
pod_address6() { in_ns get pod "$1" -o jsonpath='{.status.podIPs[1].ip}'; }
service_address6() { in_ns get service "$1" -o jsonpath='{.spec.clusterIPs[1]}'; }
service_address() { in_ns get service "$1" -o jsonpath='{.spec.clusterIP}'; }

# is EXPECTED COMMAND...: what a command prints.
is() {
    local expected=$1 found
    shift
    found=$("$@") || return 1
    [[ $found == "$expected" ]] || { printf 'expected %s, found %s\n' "$expected" "$found" && return 1; }
}

# An address that a server has seen, without the port.
seen_by() { "$@" | sed 's/:[0-9]*$//; s/[][]//g'; }
readonly FETCH=(curl --silent --show-error --fail --max-time 5)

# kube_pod_json NAME NODE [JSON]: a Pod that serves HTTP on 8080; JSON is merged into its spec.
kube_pod_json() {
    jq -n --arg name "$1" --arg node "$2" --arg image "$KUBE_AGNHOST_IMAGE" --argjson more "${3:-{\}}" '{
        apiVersion: "v1", kind: "Pod", metadata: {name: $name, labels: {pod: $name}},
        spec: ({nodeName: $node, terminationGracePeriodSeconds: 1, containers: [{
            name: "agnhost", image: $image, args: ["netexec", "--http-port=8080", "--udp-port=-1"],
            ports: [{containerPort: 8080} + ($more.port // {})],
            readinessProbe: {httpGet: {path: "/", port: 8080}, periodSeconds: 1, failureThreshold: 60}}]} + ($more.spec // {}))}'
}

# kube_service_json NAME POD [TYPE]
kube_service_json() {
    jq -n --arg name "$1" --arg pod "$2" --arg type "${3:-ClusterIP}" '{apiVersion: "v1", kind: "Service",
        metadata: {$name}, spec: {$type, ipFamilyPolicy: "PreferDualStack", selector: {$pod}, ports: [{port: 80, targetPort: 8080}]}}'
}

# kube_addresses NODE: the IPv4 addresses of its Pods, as the daemon has them.
kube_addresses() {
    kube_weft "$1" ps --json | jq -r '.[] | select(.container | startswith("weft:") | not) | .ips[] | sub("/.*"; "") | select(contains(":") | not)' | sort
}

# kube_address_free NODE ADDRESS: whether no Pod of the node has it.
kube_address_free() { ! kube_weft "$1" ps | grep -qw "$2"; }

# kube_tidy NODE: whether the daemon has an address for each Pod of its node that the API knows, and for nobody else.
kube_tidy() {
    is "$(kubectl get pods --all-namespaces --field-selector "spec.nodeName=$1" -o json | jq -r '
        .items[] | select(.spec.hostNetwork | not) | .status.podIP' | sort)" kube_addresses "$1"
}

# kube_containers NODE POD [FILTER]: the containers of a Pod as its containerd has them, its sandbox among them.
kube_containers() {
    kube_on "$1" ctr -n k8s.io containers ls -q \
        "labels.\"io.kubernetes.pod.namespace\"==$KUBE_NAMESPACE,labels.\"io.kubernetes.pod.name\"==$2${3:+,$3}"
}

# kube_sandbox NODE POD: the process that holds the Pod's namespaces; no API server is asked.
kube_sandbox() {
    local ids
    ids=$(kube_containers "$1" "$2" 'labels."io.cri-containerd.kind"==sandbox') || return 1
    kube_on "$1" ctr -n k8s.io tasks ls | grep -F "$ids" | awk '$3 == "RUNNING" { print $2; found = 1; exit } END { exit !found }'
}

# kube_traffic NAME NODE POD ARGUMENT...: starts traffic.py in the network namespace of a Pod.
kube_traffic() {
    local name=$1 pid
    pid=$(kube_sandbox "$2" "$3") || die "the Pod $3 does not run on $2"
    shift 3
    kube_start "$name" nsenter --net="/proc/$pid/ns/net" -- python3 -B "$WEFT_REPO/scripts/lib/kube/traffic.py" "$@"
}

# kube_traffic_figures NAME: ends `traffic.py send`, and prints what came of it.
kube_traffic_figures() {
    stop_process "$(kube_pid "$1")" TERM 20 || return 1
    cat "$(kube_figures "$1")"
}

kube_figures() { printf '%s/figures-%s.json\n' "$KUBE_DIR" "$1"; }
