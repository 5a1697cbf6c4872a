# shellcheck shell=bash
# The lab's certificates and tokens: one authority, and a token for everybody who talks to the API server.

# kube_certificate NAME SUBJECT EXTENSIONS: a key and a certificate by the lab's authority.
kube_certificate() {
    local dir=$KUBE_DIR/pki name=$1 subject=$2 extensions=$3
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$subject" \
        -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 30 \
        -extfile <(printf '%b' "$extensions") -out "$dir/$name.crt" 2>/dev/null
}

# kube_kubeconfig FILE TOKEN
kube_kubeconfig() {
    jq -n --arg server "$KUBE_API" --arg ca "$KUBE_DIR/pki/ca.crt" --arg token "$2" '{
        apiVersion: "v1", kind: "Config", "current-context": "lab",
        clusters: [{name: "lab", cluster: {server: $server, "certificate-authority": $ca}}],
        users: [{name: "lab", user: {token: $token}}],
        contexts: [{name: "lab", context: {cluster: "lab", user: "lab"}}]}' >"$1"
}

# kube_credentials_control: those of the control plane and of the administrator.
kube_credentials_control() {
    local dir=$KUBE_DIR/pki admin
    mkdir -p "$dir"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=weft-kube -days 30 \
        -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
    openssl genrsa -out "$dir/accounts.key" 2048 2>/dev/null
    kube_certificate apiserver /CN=kube-apiserver \
        "subjectAltName=IP:$KUBE_CONTROL_ADDRESS,IP:10.96.0.1,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc\nextendedKeyUsage=serverAuth\n"
    kube_certificate apiserver-kubelet "/O=system:masters/CN=kube-apiserver" 'extendedKeyUsage=clientAuth\n'
    admin=$(openssl rand -hex 16)
    printf '%s,admin,admin,system:masters\n' "$admin" >"$dir/tokens.csv"
    kube_kubeconfig "$KUBE_DIR/admin.kubeconfig" "$admin"
}

kube_credentials() {
    local dir=$KUBE_DIR/pki node token
    kube_credentials_control
    for node in "${KUBE_NODES[@]}"; do
        kube_certificate "$node" "/CN=$node" "subjectAltName=IP:$(kube_node_address "$node")\nextendedKeyUsage=serverAuth\n"
        token=$(openssl rand -hex 16)
        printf '%s,system:node:%s,%s,system:nodes\n' "$token" "$node" "$node" >>"$dir/tokens.csv"
        kube_kubeconfig "$(kube_node_dir "$node")/kubelet.kubeconfig" "$token"
    done
}
