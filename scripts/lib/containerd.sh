# shellcheck shell=bash
# A real container runtime on a host of a lab: containerd of its own, in the host's network namespace and in a private
# mount namespace, so that the machine's /etc/cni, /opt/cni and containerd are neither used nor touched.

readonly LAB_IMAGE=docker.io/library/weft-lab:1
readonly LAB_PAUSE_IMAGE=docker.io/library/weft-pause:1

containerd_dir() { printf '%s/containerd\n' "$(host_dir "$1")"; }

# lab_image FILE: writes a docker-archive with busybox and a page to serve, as the image of containers and, with a
# command that only waits, of Pods' sandboxes. Made from busybox-static, so nothing is fetched from anywhere.
lab_image() {
    local file=$1 busybox work applet layer config
    busybox=$(command -v busybox) || die "no busybox: apt-get install busybox-static"
    work=$(mktemp -d)
    mkdir -p "$work/root/bin" "$work/root/www" "$work/root/tmp" "$work/root/etc" "$work/image"
    cp -- "$busybox" "$work/root/bin/busybox"
    for applet in sh ping nc httpd ip sleep cat ls; do ln -s busybox "$work/root/bin/$applet"; done
    printf 'root:x:0:0:root:/:/bin/sh\n' >"$work/root/etc/passwd"
    printf 'a page from a container\n' >"$work/root/www/index.html"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/root" -cf "$work/image/layer.tar" .
    layer=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
    jq -n --arg layer "sha256:$layer" '{architecture: "amd64", os: "linux",
        config: {Env: ["PATH=/bin"], Cmd: ["/bin/sh"], WorkingDir: "/"},
        rootfs: {type: "layers", diff_ids: [$layer]}}' >"$work/image/config.json"
    case $(uname -m) in
    x86_64) ;;
    aarch64) config=$(jq '.architecture = "arm64"' "$work/image/config.json") && printf '%s\n' "$config" >"$work/image/config.json" ;;
    *) die "no image for the architecture $(uname -m)" ;;
    esac
    jq '.config.Cmd = ["/bin/sleep", "1000000"]' "$work/image/config.json" >"$work/image/pause.json"
    jq -n --arg tag "${LAB_IMAGE#docker.io/library/}" --arg pause "${LAB_PAUSE_IMAGE#docker.io/library/}" \
        '[{Config: "config.json", RepoTags: [$tag], Layers: ["layer.tar"]},
          {Config: "pause.json", RepoTags: [$pause], Layers: ["layer.tar"]}]' >"$work/image/manifest.json"
    tar --sort=name --mtime=@0 -C "$work/image" -cf "$file" manifest.json config.json pause.json layer.tar
    rm -rf -- "$work"
}

# containerd_start I [CONFLIST]: starts containerd on a host, with the conflist as the only network and the plugins of
# WEFT_BIN_DIR and of Debian beside each other, and imports the image.
containerd_start() {
    local host=$1 dir plugin
    find_binaries
    dir=$(containerd_dir "$host")
    [[ ! -e $dir ]] || die "containerd runs on host $host already"
    mkdir -p "$dir"/{root,state,cni/net.d,bin}
    if [[ -n ${2:-} ]]; then cp -- "$2" "$dir/cni/net.d/10-weft.conflist"; else default_conflist >"$dir/cni/net.d/10-weft.conflist"; fi
    for plugin in /usr/lib/cni/* "$WEFT_BIN_DIR"/weft-{net,ipam}; do
        if [[ -x $plugin ]]; then ln -sf -- "$plugin" "$dir/bin/"; fi
    done
    cat >"$dir/config.toml" <<TOML
version = 2
root = "$dir/root"
state = "$dir/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
address = "$dir/containerd.sock"
[ttrpc]
address = "$dir/containerd.ttrpc.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$LAB_PAUSE_IMAGE"
# A machine that may not raise its own priority before the kernel's memory killer is enough.
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "$dir/runc"
TOML
    # /etc/cni need not exist; what has to be made for the mount is removed again.
    if [[ ! -d /etc/cni ]]; then mkdir /etc/cni && : >"$dir/made-etc-cni"; fi
    # WEFT_SOCKET reaches the plugins of Pods; ctr calls its own.
    # shellcheck disable=SC2016
    WEFT_SOCKET=$(host_dir "$host")/weft.sock setsid nsenter --net="/run/netns/$(host_ns "$host")" -- unshare --mount --propagation private -- sh -euc '
        mount --bind "$1/cni" /etc/cni
        mount -t tmpfs -o mode=0755 tmpfs /opt
        mkdir -p /opt/cni/bin
        mount --bind "$1/bin" /opt/cni/bin
        exec containerd --config "$1/config.toml" --log-level warn' sh "$dir" </dev/null >>"$dir/log" 2>&1 &
    remember_process "$dir/containerd.pid" "$!"
    if ! wait_until 20 containerd_answers "$host"; then
        tail -n 20 "$dir/log" >&2
        die "containerd on host $host does not answer"
    fi
    if [[ ! -s $(lab_dir)/image.tar ]]; then
        lab_image "$(lab_dir)/image.tar.new"
        mv -- "$(lab_dir)/image.tar.new" "$(lab_dir)/image.tar"
    fi
    lab_ctr "$host" image import --snapshotter native "$(lab_dir)/image.tar" >/dev/null
    # Pods are in a namespace of containerd's that its CRI service chooses.
    lab_ctr "$host" --namespace k8s.io image import --snapshotter native "$(lab_dir)/image.tar" >/dev/null
}

containerd_answers() {
    our_process "$(containerd_dir "$1")/containerd.pid" && lab_ctr "$1" version
}

# lab_ctr I ARGS...: ctr of the host, where its containerd, its network and its plugins are.
lab_ctr() {
    local host=$1 dir pid
    shift
    dir=$(containerd_dir "$host")
    pid=$(our_process "$dir/containerd.pid") || die "no containerd runs on host $host"
    WEFT_SOCKET=$(host_dir "$host")/weft.sock nsenter --target "$pid" --mount --net -- \
        ctr --address "$dir/containerd.sock" --namespace "$(host_ns "$host")" --connect-timeout 5s "$@"
}

# lab_container I NAME COMMAND...: a container on the host's overlay, in the background until its command ends; ctr
# stays with it and calls the plugins' DEL when it ends. Waits until the container runs and prints its address.
lab_container() {
    local host=$1 name=$2 dir
    shift 2
    dir=$(containerd_dir "$host")
    # ctr waits for its container: it must not hold the caller's output open.
    lab_ctr "$host" run --rm --cni --null-io --snapshotter native --runc-root "$dir/runc" \
        "$LAB_IMAGE" "$name" "$@" </dev/null >>"$dir/ctr-$name.log" 2>&1 &
    remember_process "$dir/ctr-$name.pid" "$!"
    # shellcheck disable=SC2317
    wired_or_ended() { container_address "$1" "$2" || ! our_process "$3"; }
    wait_until 30 wired_or_ended "$host" "$name" "$dir/ctr-$name.pid" || true
    if ! container_address "$host" "$name"; then
        tail -n 20 "$dir/ctr-$name.log" >&2
        die "container $name on host $host has no address"
    fi
}

# container_address I NAME: the address of eth0, read inside the container once its command runs.
container_address() {
    local output
    output=$(lab_ctr "$1" task exec --exec-id "a$RANDOM$RANDOM" "$2" ip -4 -o address show dev eth0 2>/dev/null) || return 1
    [[ $output =~ inet\ ([0-9.]+)/ ]] || return 1
    printf '%s\n' "${BASH_REMATCH[1]}"
}

# lab_containerexec I NAME COMMAND...
lab_containerexec() {
    local host=$1 name=$2
    shift 2
    lab_ctr "$host" task exec --exec-id "e$RANDOM$RANDOM" "$name" "$@"
}

# lab_uncontainer I NAME: ends the container and waits until ctr has removed it and called DEL.
lab_uncontainer() {
    local host=$1 name=$2 dir
    dir=$(containerd_dir "$host")
    lab_ctr "$host" task kill --signal SIGKILL "$name" >/dev/null
    # shellcheck disable=SC2317
    ctr_ended() { ! our_process "$1"; }
    wait_until 30 ctr_ended "$dir/ctr-$name.pid" || die "ctr of container $name on host $host does not end"
    if [[ -s $dir/ctr-$name.log ]] && grep -qi 'cni\|network\|plugin' "$dir/ctr-$name.log"; then
        tail -n 5 "$dir/ctr-$name.log" >&2
        die "removing container $name from the network failed"
    fi
}

# containerd_stop I: ends the containers, containerd and its shims; all mounts vanish with their namespace.
containerd_stop() {
    local host=$1 dir pid cgroup
    dir=$(containerd_dir "$host")
    [[ -d $dir ]] || return 0
    stop_process "$dir/containerd.pid" TERM 5 || true
    for pid in $(containerd_leftovers "$dir"); do kill -KILL "$pid" 2>/dev/null || true; done
    # shellcheck disable=SC2317
    no_leftovers() { [[ -z $(containerd_leftovers "$1") ]]; }
    wait_until 5 no_leftovers "$dir" || true
    for cgroup in /sys/fs/cgroup/"$(host_ns "$host")" /sys/fs/cgroup/*/"$(host_ns "$host")"; do
        if [[ -d $cgroup ]]; then find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
    done
    if [[ -e $dir/made-etc-cni ]]; then rmdir /etc/cni 2>/dev/null || true; fi
    rm -rf -- "$dir" /run/containerd/runc/"$(host_ns "$host")"
}

# containerd_leftovers DIR: the shims of that containerd and their children, the first processes of the containers.
containerd_leftovers() {
    local process words=() pid
    for process in /proc/[0-9]*; do
        mapfile -d '' -t words 2>/dev/null <"$process/cmdline" || continue
        if [[ ${words[0]:-} == *containerd-shim-runc-v2 && " ${words[*]} " == *" -address $1/"* ]]; then
            pid=${process#/proc/}
            cat "$process/task/$pid/children" 2>/dev/null
            printf '%s\n' "$pid"
        fi
    done
}
