# shellcheck shell=bash
# podman with its CNI backend on a host of a lab: storage, configuration and networks of its own below the host's folder.

podman_dir() { printf '%s/podman\n' "$(host_dir "$1")"; }

# podman_prepare I: its configuration, the network `weft`, and the image.
podman_prepare() {
    local host=$1 dir plugin
    find_binaries
    dir=$(podman_dir "$host")
    mkdir -p "$dir/net.d" "$dir/bin"
    for plugin in /usr/lib/cni/* "$WEFT_BIN_DIR"/weft-{net,ipam}; do
        if [[ -x $plugin ]]; then ln -sf -- "$plugin" "$dir/bin/"; fi
    done
    jq -n --arg socket "$(host_dir "$host")/weft.sock" '{cniVersion: "0.4.0", name: "weft", plugins: [
        {type: "weft-net", ipMasq: true, hairpinMode: true, socket: $socket, capabilities: {ips: true}},
        {type: "portmap", capabilities: {portMappings: true}}]}' >"$dir/net.d/10-weft.conflist"
    # Limits as low as the machine may have them: a container that asks for more does not start.
    cat >"$dir/containers.conf" <<CONF
[network]
network_backend = "cni"
cni_plugin_dirs = ["$dir/bin"]
network_config_dir = "$dir/net.d"
default_network = "weft"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[containers]
log_driver = "k8s-file"
oom_score_adj = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
CONF
    if [[ ! -s $(lab_dir)/image.tar ]]; then
        lab_image "$(lab_dir)/image.tar.new"
        mv -- "$(lab_dir)/image.tar.new" "$(lab_dir)/image.tar"
    fi
    run_podman "$host" load -q -i "$(lab_dir)/image.tar" >/dev/null
}

run_podman() {
    local host=$1 dir
    shift
    dir=$(podman_dir "$host")
    CONTAINERS_CONF=$dir/containers.conf in_ns "$(host_ns "$host")" podman --root "$dir/root" --runroot "$dir/run" \
        --tmpdir "$dir/tmp" --storage-driver vfs --network-config-dir "$dir/net.d" "$@"
}

# lab_podman I ARGS...: podman of the host; the image is localhost/weft-lab:1, the network weft.
lab_podman() {
    [[ -d $(podman_dir "$1") ]] || podman_prepare "$1"
    run_podman "$@"
}

# podman_stop I: removes the containers, which calls the plugins' DEL, and all of its files.
podman_stop() {
    local host=$1 dir mount
    dir=$(podman_dir "$host")
    [[ -d $dir ]] || return 0
    run_podman "$host" rm --all --force --time 0 >/dev/null 2>&1 || true
    while read -r mount; do umount -l "$mount" 2>/dev/null || true; done \
        < <(awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts)
    rm -rf -- "$dir"
}
