# shellcheck shell=bash
# The whole lab: up, down, what runs.

# Settings of the machine that kubelets change, as files below /proc/sys.
readonly KUBE_SYSCTLS='kernel/keys/root_maxbytes kernel/keys/root_maxkeys kernel/panic kernel/panic_on_oops
vm/overcommit_memory vm/panic_on_oom fs/inotify/max_user_instances fs/inotify/max_user_watches'

kube_up() {
    local node image dual='' network=weft
    while (($#)); do
        case $1 in
        --dual-stack) dual=1 ;;
        --network)
            [[ ${2:-} == weft || ${2:-} == bridge ]] || usage_error 'up: --network weft, or bridge'
            network=$2
            shift
            ;;
        *) usage_error "up: unknown argument $1" ;;
        esac
        shift
    done
    require_root "the Kubernetes lab"
    [[ ! -e $KUBE_DIR ]] || die "the lab is up already, or was not taken down: scripts/kube-lab down"
    find_binaries
    # shellcheck disable=SC2086
    kube_build $KUBE_UP_PROGRAMS
    mkdir -p "$KUBE_DIR"/{log,pid,images,sysctl}
    chmod 0700 "$KUBE_DIR"
    # A half-built lab is of no use to anyone.
    trap 'trap - EXIT; kube_down' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    [[ -z $dual ]] || : >"$KUBE_DIR/dual-stack"
    kube_sysctls_save
    echo 1024 >/proc/sys/fs/inotify/max_user_instances
    say "Making images"
    kube_pause_image "$KUBE_DIR/images/pause.tar"
    kube_agnhost_image "$KUBE_DIR/images/agnhost.tar"
    kube_weft_image "$KUBE_DIR/images/weft.tar"
    say "Starting two nodes"
    kube_network_up
    for node in "${KUBE_NODES[@]}"; do
        kube_node_up "$node"
        for image in $KUBE_IMAGES; do kube_import "$node" "$KUBE_DIR/images/$image.tar"; done
    done
    kube_credentials
    say "Starting the control plane"
    kube_control_up
    for node in "${KUBE_NODES[@]}"; do
        kube_kubelet_up "$node"
        kube_proxy_up "$node"
    done
    kube_wait 120 kubelet-kn1 kube_nodes_known
    "kube_${network}_up"
    trap - EXIT INT TERM HUP
    kubectl get nodes -o wide
}

readonly KUBE_IMAGES='pause agnhost weft'
readonly KUBE_UP_PROGRAMS='etcd kube-apiserver pause kubectl kube-controller-manager kube-scheduler kubelet kube-proxy agnhost'

kube_nodes_known() { kubectl get nodes "${KUBE_NODES[@]}"; }

kube_sysctls_save() {
    local setting
    for setting in $KUBE_SYSCTLS; do
        if [[ -r /proc/sys/$setting ]]; then cat "/proc/sys/$setting" >"$KUBE_DIR/sysctl/${setting//\//.}"; fi
    done
}

kube_sysctls_restore() {
    local setting saved
    for setting in $KUBE_SYSCTLS; do
        saved=$KUBE_DIR/sysctl/${setting//\//.}
        if [[ -s $saved ]] && ! cmp -s "$saved" "/proc/sys/$setting"; then cat "$saved" >"/proc/sys/$setting" || true; fi
    done
}

# kube_node_off NODE: what losing power does to a node: every process gone, the network too; what is on disk stays.
kube_node_off() {
    local node=$1 name ns pid
    ns=$(kube_node_ns "$node")
    for name in kubelet kube-proxy containerd; do stop_process "$(kube_pid "$name-$node")" KILL 5 || true; done
    for pid in $(kube_leftovers "$node"); do kill -KILL "$pid" 2>/dev/null || true; done
    # shellcheck disable=SC2317
    node_is_empty() { [[ -z $(kube_leftovers "$1") ]]; }
    wait_until 15 node_is_empty "$node" || die "processes of $node do not end"
    stop_process "$(kube_pid "holder-$node")" KILL 5 || true
    ip netns del "$ns"
    # The other end goes with the namespace, but when is the kernel's affair.
    wait_until 10 kube_node_unplugged "$node" || die "the network of $node does not go"
}

kube_node_unplugged() { ! ip -n "$KUBE_SWITCH" link show dev "$1"; }

# kube_node_wipe NODE: what replacing a machine that is off does to its disks.
kube_node_wipe() {
    local dir
    dir=$(kube_node_dir "$1")
    rm -rf --one-file-system -- "${dir:?}"/{run,lib,log,etc-cni,opt,containerd,kubelet,volumeplugins,manifests,mounted}
    : >"$dir/wiped"
}

# kube_node_on NODE: starts a node again that was off.
kube_node_on() {
    local image
    kube_node_network_up "$1"
    kube_node_up "$1"
    if [[ -e $(kube_node_dir "$1")/wiped ]]; then
        for image in $KUBE_IMAGES; do kube_import "$1" "$KUBE_DIR/images/$image.tar"; done
        rm -- "$(kube_node_dir "$1")/wiped"
    fi
    kube_kubelet_up "$1"
    kube_proxy_up "$1"
}

# kube_down: removes the lab in whatever state it is; succeeds where there is none.
kube_down() {
    local node pid file hierarchy ns
    require_root "the Kubernetes lab"
    trap - EXIT INT TERM HUP
    # What starts things first, so that nothing comes back; the holders last, as their mounts are needed until then.
    for file in kubelet-kn1 kubelet-kn2 kube-proxy-kn1 kube-proxy-kn2 kube-scheduler kube-controller-manager \
        kube-apiserver etcd containerd-kn1 containerd-kn2; do
        stop_process "$(kube_pid "$file")" TERM 10 || true
    done
    # Traffic and servers of a check that was cut off.
    for file in "$KUBE_DIR"/pid/*; do
        if [[ -e $file && ${file##*/} != holder-* ]]; then stop_process "$file" KILL 5 || true; fi
    done
    for pid in $(kube_leftovers); do kill -KILL "$pid" 2>/dev/null || true; done
    # shellcheck disable=SC2317
    no_leftovers() { [[ -z $(kube_leftovers) ]]; }
    wait_until 15 no_leftovers || true
    for node in "${KUBE_NODES[@]}"; do stop_process "$(kube_pid "holder-$node")" KILL 5 || true; done
    for ns in $(ip netns list | awk '$1 ~ /^weft-kube-/ { print $1 }'); do
        for pid in $(ip netns pids "$ns" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
        ip netns del "$ns" 2>/dev/null || true
    done
    for hierarchy in /sys/fs/cgroup/ /sys/fs/cgroup/*/; do
        for node in "${KUBE_NODES[@]}"; do
            if [[ -d ${hierarchy}weft-kube-$node ]]; then
                find "${hierarchy}weft-kube-$node" -depth -type d -exec rmdir {} + 2>/dev/null || true
            fi
        done
    done
    if [[ -d $KUBE_DIR ]]; then
        kube_sysctls_restore
        if [[ -e $KUBE_DIR/made-etc-cni ]]; then rmdir /etc/cni 2>/dev/null || true; fi
        rm -rf --one-file-system -- "$KUBE_DIR"
    fi
}

# kube_leftovers [NODE...]: what runs in the nodes' cgroups, that is in their Pods, and the containers' shims.
kube_leftovers() {
    local file process words=() node nodes=("${KUBE_NODES[@]}")
    ((!$#)) || nodes=("$@")
    {
        while read -r file; do cat "$file" 2>/dev/null || true; done < <(
            for node in "${nodes[@]}"; do
                find /sys/fs/cgroup/*/"weft-kube-$node" /sys/fs/cgroup/"weft-kube-$node" -name cgroup.procs 2>/dev/null
            done)
        for process in /proc/[0-9]*; do
            mapfile -d '' -t words 2>/dev/null <"$process/cmdline" || continue
            [[ ${words[0]:-} == *containerd-shim-runc-v2 ]] || continue
            # All containerds call their socket the same: the lab's are in the lab's mount namespaces.
            if kube_is_ours "${process#/proc/}" "${nodes[@]}"; then printf '%s\n' "${process#/proc/}"; fi
        done
    } | sort -un
}

# kube_is_ours PID NODE...: whether a process is in the mount namespace of one of the nodes.
kube_is_ours() {
    local pid=$1 node
    shift
    for node in "$@"; do
        if [[ -s $(kube_node_dir "$node")/mount-namespace &&
            $(readlink "/proc/$pid/ns/mnt" 2>/dev/null) == "$(cat "$(kube_node_dir "$node")/mount-namespace")" ]]; then return 0; fi
    done
    return 1
}

kube_status() {
    local file name
    [[ -d $KUBE_DIR ]] || die "there is no lab; start one with: scripts/kube-lab up"
    for file in "$KUBE_DIR"/pid/*; do
        name=${file##*/}
        if our_process "$file" >/dev/null; then printf '%-26s runs\n' "$name"; else printf '%-26s is gone: %s\n' "$name" "$(kube_log "$name")"; fi
    done
    kubectl get nodes,pods --all-namespaces -o wide
}
