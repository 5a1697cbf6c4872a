# shellcheck shell=bash
# The control plane: etcd, API server, controller manager and scheduler beside the underlay's switch.

kube_control_up() {
    local bin
    bin=$(kube_bin)
    kube_start etcd nsenter --net="/run/netns/$KUBE_SWITCH" -- "$bin/etcd" -data-dir "$KUBE_DIR/etcd"
    kube_apiserver_up apiserver
    kube_wait 120 kube-apiserver kubectl get --raw /readyz
    kube_start kube-controller-manager nsenter --net="/run/netns/$KUBE_SWITCH" -- "$bin/kube-controller-manager" \
        --kubeconfig="$KUBE_DIR/admin.kubeconfig" --leader-elect=false --use-service-account-credentials=false \
        --root-ca-file="$KUBE_DIR/pki/ca.crt" --service-account-private-key-file="$KUBE_DIR/pki/accounts.key" \
        --allocate-node-cidrs=false --node-monitor-grace-period=60s --authentication-skip-lookup=true
    kube_start kube-scheduler nsenter --net="/run/netns/$KUBE_SWITCH" -- "$bin/kube-scheduler" \
        --kubeconfig="$KUBE_DIR/admin.kubeconfig" --leader-elect=false --authentication-skip-lookup=true
}

# kube_apiserver_down: its connections end with it, as when its machine loses power.
kube_apiserver_down() { stop_process "$(kube_pid kube-apiserver)" KILL 10 || true; }

# kube_apiserver_back: starts it and waits until it answers. Whoever takes it down says so to `trap` first, so that a check that
# is cut off does not leave the lab without one.
kube_apiserver_back() {
    our_process "$(kube_pid kube-apiserver)" >/dev/null || kube_apiserver_up apiserver
    kube_wait 120 kube-apiserver kubectl get --raw /readyz
}

# kube_apiserver_up CERTIFICATE [ARGUMENT...]: starts the API server, with the certificate of that name; does not wait for it.
kube_apiserver_up() {
    local certificate=$1
    kube_start kube-apiserver nsenter --net="/run/netns/$KUBE_SWITCH" -- "$(kube_bin)/kube-apiserver" \
        --etcd-servers=http://127.0.0.1:2379 --advertise-address="$KUBE_CONTROL_ADDRESS" --secure-port=6443 \
        --service-cluster-ip-range="$(kube_families "$KUBE_SERVICE_RANGE" "$KUBE_SERVICE_RANGE6")" --authorization-mode=Node,RBAC \
        --token-auth-file="$KUBE_DIR/pki/tokens.csv" --client-ca-file="$KUBE_DIR/pki/ca.crt" \
        --tls-cert-file="$KUBE_DIR/pki/$certificate.crt" --tls-private-key-file="$KUBE_DIR/pki/$certificate.key" \
        --kubelet-client-certificate="$KUBE_DIR/pki/apiserver-kubelet.crt" \
        --kubelet-client-key="$KUBE_DIR/pki/apiserver-kubelet.key" \
        --kubelet-certificate-authority="$KUBE_DIR/pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$KUBE_DIR/pki/accounts.key" \
        --service-account-signing-key-file="$KUBE_DIR/pki/accounts.key" --allow-privileged=true \
        --enable-priority-and-fairness=false "${@:2}"
}
