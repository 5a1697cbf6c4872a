# shellcheck shell=bash
# A NetworkPolicy applied and driven: each path that it allows, each that it denies, before it, under it and after it.

readonly KUBE_EXAMPLE_NAMESPACES='weft-example weft-project weft-elsewhere'
# A machine outside 10.0.0.0/8; the range is the one for documentation.
readonly KUBE_EXAMPLE_OUTSIDE=192.0.2.7
readonly KUBE_EXAMPLE_PORT=9099

kube_example() {
    local started=$SECONDS
    find_binaries
    kube_example_up
    heading 'before the policy: all paths are open'
    kube_example_paths all-open
    heading 'under the policy'
    kubectl --namespace weft-example apply -f "$WEFT_REPO/scripts/lib/kube/example.yaml" >/dev/null
    check 'the policy is in force' wait_until 20 kube_example_denied weft-example/app-1 "http://$(kube_example_address weft-example/other):8080/"
    kube_example_paths as-it-says
    heading 'after the policy: all paths are open again'
    kubectl --namespace weft-example delete -f "$WEFT_REPO/scripts/lib/kube/example.yaml" >/dev/null
    check 'the policy is gone' wait_until 20 kube_example_open weft-example/app-1 "http://$(kube_example_address weft-example/other):8080/"
    kube_example_paths all-open
    kube_example_down
    kube_summary "$started"
}

# Two Pods of the app, one on each node; one beside them; one in a namespace of the project, one in a third namespace.
kube_example_up() {
    local name node
    for name in $KUBE_EXAMPLE_NAMESPACES; do
        kube_namespace "$name" "$([[ $name != weft-project ]] || printf 'project=my-project\n')"
    done
    for name in app-1:kn1 app-2:kn2; do kube_pod_json "${name%:*}" "${name#*:}" | jq '.metadata.labels.app = "my-app"'; done |
        kubectl --namespace weft-example apply -f - >/dev/null
    kube_pod_json other kn2 | kubectl --namespace weft-example apply -f - >/dev/null
    kube_pod_json client kn1 | kubectl --namespace weft-project apply -f - >/dev/null
    kube_pod_json client kn2 | kubectl --namespace weft-elsewhere apply -f - >/dev/null
    for name in $KUBE_EXAMPLE_NAMESPACES; do
        kubectl --namespace "$name" wait --for=condition=Ready pod --all --timeout=120s >/dev/null
    done
    # A machine that the nodes reach as they reach all others, and that knows the way to the Pods.
    ip -n "$KUBE_SWITCH" address replace "$KUBE_EXAMPLE_OUTSIDE/32" dev underlay
    for node in app-1:kn1 app-2:kn2; do
        ip -n "$KUBE_SWITCH" route replace "$(kube_example_address "weft-example/${node%:*}")" via "$(kube_node_address "${node#*:}")" dev underlay
    done
    kube_start outside nsenter --net="/run/netns/$KUBE_SWITCH" -- "$(kube_bin)/agnhost" netexec --http-port="$KUBE_EXAMPLE_PORT" --udp-port=-1
    wait_until 20 kube_control "${FETCH[@]}" "http://$KUBE_EXAMPLE_OUTSIDE:$KUBE_EXAMPLE_PORT/" || die 'the server outside does not start'
}

kube_example_down() {
    local name
    stop_process "$(kube_pid outside)" TERM 5 || true
    for name in app-1 app-2; do ip -n "$KUBE_SWITCH" route del "$(kube_example_address "weft-example/$name")" || true; done
    ip -n "$KUBE_SWITCH" address del "$KUBE_EXAMPLE_OUTSIDE/32" dev underlay
    for name in $KUBE_EXAMPLE_NAMESPACES; do kube_namespace_delete "$name"; done
}

# kube_example_paths all-open|as-it-says: tries every path.
kube_example_paths() {
    local app1 app2 other project elsewhere
    app1=$(kube_example_url weft-example/app-1) app2=$(kube_example_url weft-example/app-2)
    other=$(kube_example_url weft-example/other)
    project=$(kube_example_url weft-project/client) elsewhere=$(kube_example_url weft-elsewhere/client)
    kube_example_path "$1" open 'ingress, ipBlock 10.0.0.0/8: a node' node/kn2 "$app1"
    kube_example_path "$1" open 'ingress, ipBlock 10.0.0.0/8: a machine of the underlay' outside/"$KUBE_CONTROL_ADDRESS" "$app1"
    kube_example_path "$1" open 'ingress, ipBlock 10.0.0.0/8: a Pod of the namespace, as its address is in there' weft-example/other "$app1"
    kube_example_path "$1" open 'ingress, ipBlock 10.0.0.0/8: a Pod of a third namespace, likewise' weft-elsewhere/client "$app1"
    kube_example_path "$1" open 'ingress, namespaceSelector: a Pod of the project' weft-project/client "$app1"
    kube_example_path "$1" denied 'ingress: a machine outside of 10.0.0.0/8' outside/"$KUBE_EXAMPLE_OUTSIDE" "$app1"
    kube_example_path "$1" denied 'ingress: the same, on the other node' outside/"$KUBE_EXAMPLE_OUTSIDE" "$app2"
    kube_example_path "$1" open 'egress, podSelector: the app on the other node' weft-example/app-1 "$app2"
    kube_example_path "$1" open 'egress, podSelector: and back' weft-example/app-2 "$app1"
    kube_example_path "$1" denied 'egress: another Pod of the namespace' weft-example/app-1 "$other"
    kube_example_path "$1" denied 'egress: the project, which may come in' weft-example/app-1 "$project"
    kube_example_path "$1" denied 'egress: a Pod of a third namespace' weft-example/app-2 "$elsewhere"
    kube_example_path "$1" denied 'egress: out of the cluster' weft-example/app-1 "http://$KUBE_EXAMPLE_OUTSIDE:$KUBE_EXAMPLE_PORT/"
    kube_example_path "$1" open 'who is not selected: to the project' weft-example/other "$project"
    kube_example_path "$1" open 'who is not selected: out of the cluster' weft-example/other "http://$KUBE_EXAMPLE_OUTSIDE:$KUBE_EXAMPLE_PORT/"
    if ! kube_dual; then
        say '      by IPv6, where no ipBlock holds: not tried, the lab is without (scripts/kube-lab up --dual-stack)'
        return
    fi
    app1=$(kube_example_url weft-example/app-1 1) app2=$(kube_example_url weft-example/app-2 1)
    other=$(kube_example_url weft-example/other 1)
    kube_example_path "$1" open 'IPv6, ingress, namespaceSelector: a Pod of the project' weft-project/client "$app1"
    kube_example_path "$1" denied 'IPv6, ingress: a Pod of the namespace' weft-example/other "$app1"
    kube_example_path "$1" denied 'IPv6, ingress: a Pod of a third namespace' weft-elsewhere/client "$app1"
    kube_example_path "$1" denied 'IPv6: the app to itself, which egress allows and ingress does not' weft-example/app-1 "$app2"
    kube_example_path "$1" denied 'IPv6, egress: another Pod of the namespace' weft-example/app-1 "$other"
}

# kube_example_path all-open|as-it-says open|denied WHAT FROM URL
kube_example_path() {
    local expected=$2
    [[ $1 == as-it-says ]] || expected=open
    check "$(printf '%-6s %s' "$expected" "$3")" "kube_example_$expected" "$4" "$5"
}

# kube_example_open FROM URL [ARGUMENT...]: FROM is NAMESPACE/POD, node/NODE or outside/ADDRESS.
kube_example_open() {
    local from=$1
    shift
    case $from in
    node/*) kube_on "${from#*/}" "${FETCH[@]}" "$@" ;;
    outside/*) kube_control "${FETCH[@]}" --interface "${from#*/}" "$@" ;;
    *) kubectl --namespace "${from%/*}" exec "${from#*/}" -- "${FETCH[@]}" "$@" ;;
    esac
}

# kube_example_denied FROM URL: no answer within a second and a half.
kube_example_denied() {
    ! kube_example_open "$@" --max-time 1.5
}

# kube_example_address NAMESPACE/POD [WHICH], kube_example_url NAMESPACE/POD [WHICH]: 1 for that of IPv6.
kube_example_address() { kubectl --namespace "${1%/*}" get pod "${1#*/}" -o jsonpath="{.status.podIPs[${2:-0}].ip}"; }
kube_example_url() {
    if ((${2:-0})); then printf 'http://[%s]:8080/\n' "$(kube_example_address "$@")"; else printf 'http://%s:8080/\n' "$(kube_example_address "$@")"; fi
}
