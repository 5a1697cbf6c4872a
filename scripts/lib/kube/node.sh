# shellcheck shell=bash
# A node: namespaces, containerd, kubelet and kube-proxy.

readonly KUBE_SNAPSHOTTER=overlayfs

kube_network_up() {
    local node
    ip netns add "$KUBE_SWITCH"
    ip -n "$KUBE_SWITCH" link set lo up
    ip -n "$KUBE_SWITCH" link add underlay type bridge mcast_snooping 0
    ip -n "$KUBE_SWITCH" address add "$KUBE_CONTROL_ADDRESS/24" dev underlay
    ip -n "$KUBE_SWITCH" link set underlay up
    if kube_dual; then ip -n "$KUBE_SWITCH" address add "$KUBE_CONTROL_ADDRESS6/64" dev underlay nodad; fi
    for node in "${KUBE_NODES[@]}"; do kube_node_network_up "$node"; done
}

# kube_node_network_up NODE: its namespace, on the underlay.
kube_node_network_up() {
    local node=$1 ns
    ns=$(kube_node_ns "$node")
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    # A card keeps its address when its host restarts; with another, neighbours would ask for the old one for a while.
    ip link add eth0 netns "$ns" address "02:00:0a:62:00:0${node#kn}" type veth peer name "$node" netns "$KUBE_SWITCH"
    ip -n "$KUBE_SWITCH" link set "$node" master underlay up
    ip -n "$ns" address add "$(kube_node_address "$node")/24" dev eth0
    ip -n "$ns" link set eth0 up
    ip -n "$ns" route add default via "$KUBE_CONTROL_ADDRESS"
    # What the installation of a Kubernetes node asks for; new namespaces do not forward.
    nsenter --net="/run/netns/$ns" -- sysctl -q -w net.ipv4.ip_forward=1
    if kube_dual; then
        ip -n "$ns" address add "$(kube_node_address6 "$node")/64" dev eth0 nodad
        ip -n "$ns" -6 route add default via "$KUBE_CONTROL_ADDRESS6"
        nsenter --net="/run/netns/$ns" -- sysctl -q -w net.ipv6.conf.all.forwarding=1
    fi
}

# kube_node_up NODE: the node's namespaces and its containerd, with the images.
kube_node_up() {
    local node=$1 dir plugin
    dir=$(kube_node_dir "$node")
    # What a reboot empties.
    rm -rf --one-file-system -- "$dir/run" "$dir/mounted"
    mkdir -p "$dir"/{run,lib,log,etc-cni/net.d,opt/cni/bin,containerd,kubelet,volumeplugins,manifests}
    mkdir -p "$dir/run/netns" "$dir/run/lock"
    for plugin in portmap loopback; do cp -- "/usr/lib/cni/$plugin" "$dir/opt/cni/bin/"; done
    printf 'nameserver 10.96.0.10\n' >"$dir/resolv.conf"
    # /etc/cni need not exist; what has to be made for the mount is removed again.
    if [[ ! -d /etc/cni ]]; then mkdir /etc/cni && : >"$KUBE_DIR/made-etc-cni"; fi
    # The holder keeps the mount namespace. Its mounts are shared within the node, as on a host with systemd, and
    # with nobody else: what a Pod may hand back to its node is seen there alone.
    # shellcheck disable=SC2016
    kube_start "holder-$node" nsenter --net="/run/netns/$(kube_node_ns "$node")" -- \
        unshare --mount --propagation private -- sh -euc '
        mount --bind "$1/etc-cni" /etc/cni
        mount --bind "$1/opt" /opt
        mount --bind "$1/run" /run
        mount --bind "$1/lib" /var/lib
        mount --bind "$1/log" /var/log
        mount --make-rshared /
        : >"$1/mounted"
        exec sleep infinity' sh "$dir"
    kube_wait 10 "holder-$node" test -e "$dir/mounted"
    readlink "/proc/$(our_process "$(kube_pid "holder-$node")")/ns/mnt" >"$dir/mount-namespace"
    kube_cgroups_up "$node"
    cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$KUBE_PAUSE_IMAGE"
# A machine that may not raise its own priority before the kernel's memory killer is enough.
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "$KUBE_SNAPSHOTTER"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
TOML
    kube_start "containerd-$node" nsenter --target "$(our_process "$(kube_pid "holder-$node")")" --mount --net -- \
        containerd --config "$dir/containerd.toml" --log-level warn
    kube_wait 30 "containerd-$node" kube_on "$node" ctr --connect-timeout 2s version
}

# kube_import NODE FILE: the images of a docker-archive.
kube_import() {
    kube_on "$1" ctr -n k8s.io images import --snapshotter "$KUBE_SNAPSHOTTER" "$2" >>"$(kube_log import)" 2>&1 ||
        { tail -n 5 "$(kube_log import)" >&2 && die "containerd on $1 does not take $2"; }
}

# kube_cgroups_up NODE: the kubelet's root in every hierarchy of cgroup v1, as the kubelet makes none itself.
kube_cgroups_up() {
    local hierarchy file
    for hierarchy in /sys/fs/cgroup/*/; do
        [[ -e ${hierarchy}cgroup.procs || -e ${hierarchy}tasks ]] || continue
        mkdir -p "${hierarchy}weft-kube-$1"
        for file in cpuset.cpus cpuset.mems; do
            if [[ -e $hierarchy$file ]]; then cat "$hierarchy$file" >"${hierarchy}weft-kube-$1/$file"; fi
        done
    done
}

# kube_kubelet_up NODE
kube_kubelet_up() {
    local node=$1 dir
    dir=$(kube_node_dir "$node")
    cat >"$dir/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /weft-kube-$node
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
podLogsDir: /var/log/pods
staticPodPath: $dir/manifests
volumePluginDir: $dir/volumeplugins
resolvConf: $dir/resolv.conf
tlsCertFile: $KUBE_DIR/pki/$node.crt
tlsPrivateKeyFile: $KUBE_DIR/pki/$node.key
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: $KUBE_DIR/pki/ca.crt}
authorization: {mode: AlwaysAllow}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
imagePullCredentialsVerificationPolicy: NeverVerify
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
nodeStatusUpdateFrequency: 5s
maxPods: 200
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
YAML
    kube_start "kubelet-$node" nsenter --target "$(our_process "$(kube_pid "holder-$node")")" --mount --net -- \
        "$(kube_bin)/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$dir/kubelet.kubeconfig" \
        --root-dir="$dir/kubelet" --cert-dir="$dir/kubelet-pki" --hostname-override="$node" \
        --node-ip="$(kube_families "$(kube_node_address "$node")" "$(kube_node_address6 "$node")")" --v=1
}

# kube_proxy_up NODE
kube_proxy_up() {
    local node=$1 dir
    dir=$(kube_node_dir "$node")
    cat >"$dir/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${WEFT_KUBE_PROXY_MODE:-nftables}
clientConnection: {kubeconfig: $KUBE_DIR/admin.kubeconfig}
clusterCIDR: $(kube_families "$KUBE_POD_RANGE" "$KUBE_POD_RANGE6")
hostnameOverride: $node
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
    kube_start "kube-proxy-$node" nsenter --target "$(our_process "$(kube_pid "holder-$node")")" --mount --net -- \
        "$(kube_bin)/kube-proxy" --config="$dir/proxy.yaml"
}
