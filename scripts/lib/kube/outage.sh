# shellcheck shell=bash
# The API server is away, under load: what runs goes on, what comes and goes meanwhile is served, and what was missed is
# caught up with.

readonly KUBE_OUTAGE_PORT=7001
# How soon after the API server's return all must be as it says.
readonly KUBE_OUTAGE_CONVERGED=10

# kube_outage SECONDS
kube_outage() {
    local seconds=$1 started=$SECONDS ended near far victim newcomer pod server
    [[ $seconds =~ ^[1-9][0-9]{1,4}$ ]] || usage_error 'outage: a number of seconds from 10 to 99999'
    find_binaries
    # The policies of one namespace bind Pods that come while nobody can be asked; in the other there is none.
    kube_namespace weft-static
    kube_namespace weft-outage
    { for pod in client:kn1 near:kn1 last:kn1 far:kn2 victim:kn2; do kube_pod_json "${pod%:*}" "${pod#*:}"; done; } | in_ns apply -f - >/dev/null
    in_ns wait --for=condition=Ready pod --all --timeout=120s >/dev/null
    near=$(pod_address near) far=$(pod_address far) victim=$(pod_address victim)
    kube_outage_policy only-client '["far", "victim"]' '["client"]'
    check 'a policy is in force: far takes the client alone' wait_until 20 kube_outage_refused near "$far"
    kube_traffic serve-near kn1 near serve "$KUBE_OUTAGE_PORT"
    kube_traffic serve-far kn2 far serve "$KUBE_OUTAGE_PORT"
    kube_traffic allowed kn1 client send "$(kube_figures allowed)" "ping=$near" "ping=$far" "stream=$near:$KUBE_OUTAGE_PORT" \
        "stream=$far:$KUBE_OUTAGE_PORT" "connect=$near:$KUBE_OUTAGE_PORT" "connect=$far:$KUBE_OUTAGE_PORT"
    kube_traffic denied kn1 near send "$(kube_figures denied)" "denied=$far:$KUBE_OUTAGE_PORT"
    kube_wait 30 allowed test -e "$(kube_figures allowed).ready"

    heading "the API server is killed, and away for $seconds s"
    trap kube_apiserver_back EXIT
    kube_apiserver_down
    ended=$((SECONDS + seconds))
    check 'kn1 says so' wait_until 90 kube_outage_noticed kn1
    check 'kn2 says so' wait_until 90 kube_outage_noticed kn2
    kube_weft kn1 status --json | jq -r '.kubernetes | "      \(.state) since \(.since): \(.detail)"'
    kube_outage_static kn1
    check 'a Pod that its kubelet makes meanwhile (of a file) has an address' wait_until 90 kube_outage_static_address kn1
    newcomer=$(kube_outage_static_address kn1) || newcomer=127.0.0.1
    check '... and is reached from the other node' wait_until 20 kube_outage_reached weft-outage far kn2 "$newcomer"
    check "a Pod whose sandbox dies meanwhile gets another one" kube_outage_killed kn2 victim
    victim=$(kube_outage_address kn2 victim) || victim=127.0.0.1
    check '... with a network' wait_until 60 kube_outage_reached weft-outage client kn1 "$victim"
    check '... and its policy' kube_outage_refused near "$victim"
    rm -f -- "$(kube_node_dir kn1)/manifests/newcomer.json"
    check 'a Pod that its kubelet ends meanwhile gives its address back' wait_until 90 kube_address_free kn1 "$newcomer"
    check 'all policies are as they were' kube_outage_refused near "$far"
    say "      $((ended - SECONDS > 0 ? ended - SECONDS : 0)) s are left of it"
    while ((SECONDS < ended)); do sleep 1; done

    heading 'the API server comes back'
    kube_apiserver_back
    trap - EXIT
    kube_outage_returned "$(kube_outage_address kn1 last)"
    kube_outage_traffic
    for server in serve-near serve-far; do stop_process "$(kube_pid "$server")" TERM 5 || true; done
    kube_namespace_delete weft-static
    kube_namespace_delete weft-outage
    kube_summary "$started"
}

# kube_outage_policy NAME PODS CLIENTS: of the namespace at hand, ingress to PODS from CLIENTS alone, both lists in JSON.
kube_outage_policy() {
    jq -n --arg name "$1" --argjson pods "$2" --argjson clients "$3" '
        def named($names): {matchExpressions: [{key: "pod", operator: "In", values: $names}]};
        {apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: {$name},
        spec: {podSelector: named($pods), policyTypes: ["Ingress"],
            ingress: (if $clients == [] then [] else [{from: [{podSelector: named($clients)}]}] end)}}' | in_ns apply -f - >/dev/null
}

# kube_api_state NODE: how the daemon stands with the API server, in a word.
kube_api_state() { kube_weft "$1" status --json | jq -re .kubernetes.state; }
kube_api_connected() { is watching kube_api_state "$1"; }
kube_outage_noticed() { ! kube_api_connected "$1"; }

# kube_outage_in NAMESPACE POD NODE COMMAND...: a program of this machine in the network of a Pod. No API server is asked.
kube_outage_in() {
    local KUBE_NAMESPACE=$1 pid
    pid=$(kube_sandbox "$3" "$2") || return 1
    shift 3
    nsenter --net="/proc/$pid/ns/net" -- "$@"
}

# kube_outage_address NODE POD: as the Pod itself has it.
kube_outage_address() {
    kube_outage_in "$KUBE_NAMESPACE" "$2" "$1" ip -json -4 address show dev eth0 | jq -re '.[0].addr_info[0].local'
}

kube_outage_reached() { kube_outage_in "$1" "$2" "$3" "${FETCH[@]}" --max-time 2 "http://$4:8080/"; }
kube_outage_refused() { ! kube_outage_reached weft-outage "$1" kn1 "$2"; }

# kube_outage_static NODE: a Pod by a file in the kubelet's own directory.
kube_outage_static() {
    kube_pod_json newcomer "$1" | jq '.metadata.namespace = "weft-static" | del(.spec.nodeName)' \
        >"$(kube_node_dir "$1")/manifests/newcomer.json"
}

kube_outage_static_address() {
    local KUBE_NAMESPACE=weft-static
    kube_outage_address "$1" "newcomer-$1"
}

# kube_outage_killed NODE POD: kills what holds the Pod's namespaces, and waits for the kubelet to make it anew.
kube_outage_killed() {
    local before after
    before=$(kube_sandbox "$1" "$2") || return 1
    kill -KILL "$before"
    # shellcheck disable=SC2317
    another() { after=$(kube_sandbox "$1" "$2") && [[ $after != "$3" ]]; }
    wait_until 120 another "$1" "$2" "$before"
}

# kube_outage_returned ADDRESS: from the moment that the API server answers; ADDRESS is that of the Pod `last`.
kube_outage_returned() {
    local from=$EPOCHREALTIME took
    kube_outage_policy nobody '["last"]' '[]'
    # shellcheck disable=SC2317
    nobody() { ! kube_outage_in weft-outage client kn1 ping -n -c 1 -W 1 "$1"; }
    check 'a policy that is new is in force' wait_until 60 nobody "$1"
    check 'kn1 is connected again' wait_until 60 kube_api_connected kn1
    check 'kn2 is connected again' wait_until 60 kube_api_connected kn2
    took=$(awk -v from="$from" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }')
    say "      all of it $took s after the API server answered"
    check "... within $KUBE_OUTAGE_CONVERGED s" awk -v took="$took" -v most="$KUBE_OUTAGE_CONVERGED" 'BEGIN { exit !(took <= most) }'
    in_ns delete networkpolicy nobody >/dev/null
    check 'and gone again when it is deleted' wait_until 20 kube_outage_in weft-outage client kn1 ping -n -c 1 -W 1 "$1"
    check 'kn1 has addresses for its Pods and for nobody else' wait_until 120 kube_tidy kn1
    check 'kn2 has addresses for its Pods and for nobody else' wait_until 120 kube_tidy kn2
}

# kube_outage_traffic: what came of the traffic.
kube_outage_traffic() {
    local allowed denied
    allowed=$(kube_traffic_figures allowed) || allowed='[]'
    denied=$(kube_traffic_figures denied) || denied='[]'
    jq -r '.[] | "      \(.kind) \(.target): \(.sent) sent, \(.sent - .answered) lost, longest pause \(.longest_pause_s) s"' <<<"$allowed"
    jq -r '.[] | "      \(.kind) \(.target): \(.sent) tried, \(.answered) got through"' <<<"$denied"
    check 'no established connection is lost' jq -e '[.[] | select(.kind == "stream")] | length == 2 and all(.error == null and .sent == .answered)' <<<"$allowed"
    check 'no ping is lost' jq -e '[.[] | select(.kind == "ping")] | length == 2 and all(.sent == .answered)' <<<"$allowed"
    check 'no new connection is lost' jq -e '[.[] | select(.kind == "connect")] | length == 2 and all(.sent == .answered)' <<<"$allowed"
    check 'nothing that is denied gets through' jq -e 'length == 1 and all(.sent > 0 and .answered == 0)' <<<"$denied"
}
