# shellcheck shell=bash
# The end-to-end tests of Kubernetes itself, on the standing lab.

# Name of a group, and the tests in it: a regular expression on their full names.
readonly KUBE_E2E='
netpol      \[sig-network\] Netpol
granular    Granular Checks: Pods should function for (intra-pod|node-pod) communication: (http|udp)
hostport    HostPort validates that there is no conflict between pods with same hostPort
nosnat      NoSNAT Should be able to send traffic between Pods without SNAT
conntrack   Conntrack should be able to preserve UDP traffic when server pod cycles for a (ClusterIP|NodePort) service
lifecycle   Pods should (get a host IP|be submitted and removed|be updated)
'

kube_e2e_groups() {
    say 'Groups of scripts/kube-lab e2e:'
    sed '/^$/d; s/^/  /' <<<"$KUBE_E2E"
    say '  all         all of these, one after the other'
}

# kube_e2e GROUP...: runs the groups one after the other; prints each test with its seconds, and the sum.
kube_e2e() {
    local group focus failed=0
    if [[ $* == all ]]; then
        # shellcheck disable=SC2046
        set -- $(awk 'NF { print $1 }' <<<"$KUBE_E2E")
    fi
    for group in "$@"; do
        focus=$(awk -v group="$group" '$1 == group { sub(/^[^ ]+ +/, ""); print }' <<<"$KUBE_E2E")
        [[ -n $focus ]] || usage_error "no group '$group': $(awk 'NF { print $1 }' <<<"$KUBE_E2E" | xargs)"
    done
    kube_build e2e.test
    for group in "$@"; do
        heading "$group"
        focus=$(awk -v group="$group" '$1 == group { sub(/^[^ ]+ +/, ""); print }' <<<"$KUBE_E2E")
        kube_e2e_run "$group" "$focus" || failed=1
    done
    return "$failed"
}

# kube_e2e_run GROUP FOCUS
kube_e2e_run() {
    local reports=$KUBE_DIR/e2e-$1 result=0
    rm -rf -- "$reports"
    mkdir -p "$reports"
    kube_control "$(kube_bin)/e2e.test" --provider=local --kubeconfig="$KUBE_DIR/admin.kubeconfig" --host="$KUBE_API" \
        --kubectl-path="$(kube_bin)/kubectl" --num-nodes=2 --dump-logs-on-failure=false --disable-log-dump \
        --report-dir="$reports" --ginkgo.focus="$2" --ginkgo.skip=SCTP --ginkgo.timeout=2h \
        --ginkgo.no-color >"$(kube_log "e2e-$1")" 2>&1 || result=$?
    python3 "$WEFT_REPO/scripts/lib/kube/junit.py" "$reports"/junit*.xml ||
        { tail -n 20 "$(kube_log "e2e-$1")" >&2 && result=1; }
    return "$result"
}
