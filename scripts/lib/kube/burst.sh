# shellcheck shell=bash
# Many Pods at once, from the request to the first reply that each of them gets from another Pod.

readonly KUBE_BURST_PORT=7002
# How many Pods are started one after the other, before those that are started at once.
readonly KUBE_BURST_SINGLE=10

# kube_burst PODS FILE: writes to FILE, in JSON, after how many milliseconds each Pod had its first reply.
kube_burst() {
    local pods=$1 file=$2 number collector
    [[ $pods =~ ^[1-9][0-9]{0,2}$ ]] || usage_error 'burst: a number of Pods from 1 to 999, and a file'
    : >"$file" || die "cannot write $file"
    kube_namespace weft-burst
    kube_pod_json collector kn1 | in_ns apply -f - >/dev/null
    in_ns wait --for=condition=Ready pod/collector --timeout=120s >/dev/null
    collector=$(pod_address collector)
    kube_traffic collector kn1 collector collect "$KUBE_BURST_PORT" "$(kube_figures collector)"
    kube_wait 20 collector test -e "$(kube_figures collector).ready"
    : >"$file.started"
    for ((number = 0; number < KUBE_BURST_SINGLE; number++)); do
        kube_burst_started "single-$number" >>"$file.started"
        kube_burst_pod "single-$number" "$number" "$collector" | in_ns apply -f - >/dev/null
        wait_until 60 kube_burst_replied "single-$number" || die "the Pod single-$number gets no reply"
    done
    for ((number = 0; number < pods; number++)); do kube_burst_pod "burst-$number" "$number" "$collector"; done >"$file.pods"
    kube_burst_started burst- >>"$file.started"
    in_ns apply -f "$file.pods" >/dev/null
    wait_until 300 kube_burst_all "$pods" || die "only $(kube_burst_count) of $pods Pods get a reply within 300 s"
    stop_process "$(kube_pid collector)" TERM 10 || true
    jq -n --slurpfile started "$file.started" --slurpfile replied "$(kube_figures collector)" '
        ($started | add) as $from |
        {single_ms: [$replied[0] | to_entries[] | select(.key | startswith("single-")) | (.value - $from[.key]) * 1000],
         burst_ms: [$replied[0] | to_entries[] | select(.key | startswith("burst-")) | (.value - $from["burst-"]) * 1000]}' >"$file"
    rm -f -- "$file.started" "$file.pods"
    kube_namespace_delete weft-burst
}

kube_burst_started() { jq -nc --arg name "$1" --argjson at "$EPOCHREALTIME" '{($name): $at}'; }
kube_burst_replied() { jq -e --arg name "$1" 'has($name)' "$(kube_figures collector)"; }
kube_burst_count() { jq '[keys[] | select(startswith("burst-"))] | length' "$(kube_figures collector)"; }
kube_burst_all() { (($(kube_burst_count) == $1)); }

# kube_burst_pod NAME NUMBER COLLECTOR: on one node or the other in turn; asks until it is answered.
kube_burst_pod() {
    jq -n --arg name "$1" --arg node "${KUBE_NODES[$(($2 % ${#KUBE_NODES[@]}))]}" --arg image "$KUBE_AGNHOST_IMAGE" \
        --arg url "http://$3:$KUBE_BURST_PORT/$1" '{
        apiVersion: "v1", kind: "Pod", metadata: {$name},
        spec: {nodeName: $node, terminationGracePeriodSeconds: 0, enableServiceLinks: false, automountServiceAccountToken: false,
            containers: [{name: "agnhost", image: $image, command: ["/bin/sh", "-c",
                "until curl --silent --fail --max-time 1 --output /dev/null \($url); do sleep 0.02; done; exec /agnhost pause"]}]}}'
}
