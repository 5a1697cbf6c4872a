# shellcheck shell=bash
# Weft on the lab's cluster, by the manifest as it is in deploy/.

# kube_weft_up: the Secret and the manifest; waits until all nodes are Ready.
kube_weft_up() {
    say "Installing Weft by deploy/kubernetes/weft.yaml"
    "$WEFT_BIN_DIR/weft" secret new >"$KUBE_DIR/secret"
    kubectl --namespace "$KUBE_WEFT_NAMESPACE" create secret generic weft --from-file="secret=$KUBE_DIR/secret" >/dev/null
    sed "s|^  ipalloc-range: .*|  ipalloc-range: \"$(kube_families "$KUBE_POD_RANGE" "$KUBE_POD_RANGE6")\"|" \
        "$WEFT_REPO/deploy/kubernetes/weft.yaml" | kubectl apply -f - >/dev/null
    if ! kubectl --namespace "$KUBE_WEFT_NAMESPACE" rollout status daemonset/weft --timeout=180s >/dev/null; then
        kubectl --namespace "$KUBE_WEFT_NAMESPACE" describe pods --selector app.kubernetes.io/name=weft | tail -n 40 >&2
        kubectl --namespace "$KUBE_WEFT_NAMESPACE" logs --selector app.kubernetes.io/name=weft --all-containers --prefix --tail 10 >&2 || true
        die "weft does not become ready; 'scripts/kube-lab down' removes the lab"
    fi
    kubectl wait --for=condition=Ready nodes --all --timeout=60s >/dev/null ||
        die "weft is ready and a node is not: scripts/kube-lab kubectl describe nodes"
}

# kube_weft NODE ARGUMENT...: the command line against the daemon of a node.
kube_weft() {
    local node=$1
    shift
    kube_on "$node" "$WEFT_BIN_DIR/weft" "$@"
}
