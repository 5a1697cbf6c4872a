# shellcheck shell=bash
# Images as docker-archives, made from what is at hand; nothing is pulled from anywhere.

readonly KUBE_PAUSE_IMAGE=registry.k8s.io/pause:3.10.2
readonly KUBE_AGNHOST_IMAGE=registry.k8s.io/e2e-test-images/agnhost:2.63.0

# kube_archive FILE ROOT IMAGE CONFIG: ROOT as the only layer; CONFIG is the image's `config` in JSON.
kube_archive() {
    local file=$1 root=$2 image=$3 config=$4 work layer architecture
    case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) die "no image for the architecture $(uname -m)" ;;
    esac
    work=$(mktemp -d)
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$root" -cf "$work/layer.tar" .
    layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    jq -n --arg layer "sha256:$layer" --arg architecture "$architecture" --argjson config "$config" \
        '{$architecture, os: "linux", $config, rootfs: {type: "layers", diff_ids: [$layer]}}' >"$work/config.json"
    jq -n --arg tag "$image" '[{Config: "config.json", RepoTags: [$tag], Layers: ["layer.tar"]}]' >"$work/manifest.json"
    tar --sort=name --mtime=@0 -C "$work" -cf "$file.new" manifest.json config.json layer.tar
    rm -rf -- "$work"
    mv -- "$file.new" "$file"
}

# kube_with_libraries ROOT PROGRAM TARGET: a program of this machine with the libraries that it is linked with.
kube_with_libraries() {
    local root=$1 program=$2 target=$3 library
    install -D -m 0755 -- "$program" "$root$target"
    while read -r library; do
        [[ -e $root$library ]] || install -D -m 0755 -- "$library" "$root$library"
    done < <(ldd "$program" 2>/dev/null | grep -oE '/[^ ]+' | sort -u)
}

kube_pause_image() {
    local root
    root=$(mktemp -d)
    install -m 0755 -- "$(kube_bin)/pause" "$root/pause"
    kube_archive "$1" "$root" "$KUBE_PAUSE_IMAGE" '{"Entrypoint": ["/pause"]}'
    rm -rf -- "$root"
}

# The tests call agnhost, a shell, curl and nc in it.
kube_agnhost_image() {
    local root applet
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,tmp,etc}
    chmod 1777 "$root/tmp"
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
    install -m 0755 -- "$(kube_bin)/agnhost" "$root/agnhost"
    install -m 0755 -- "$(command -v busybox)" "$root/bin/busybox"
    for applet in cat ls sleep ping ip hostname echo true false ps env id timeout seq grep head tail wc date mkdir rm touch printf; do
        ln -s busybox "$root/bin/$applet"
    done
    kube_with_libraries "$root" "$(command -v dash)" /bin/sh
    kube_with_libraries "$root" "$(command -v curl)" /bin/curl
    if command -v nc.openbsd >/dev/null; then kube_with_libraries "$root" "$(command -v nc.openbsd)" /bin/nc; fi
    kube_archive "$1" "$root" "$KUBE_AGNHOST_IMAGE" '{"Entrypoint": ["/agnhost"], "Cmd": ["pause"], "Env": ["PATH=/:/bin"]}'
    rm -rf -- "$root"
}

# kube_weft_image FILE: what the Dockerfile makes, from the binaries that are built here: the daemon, the plugins, nft
# and a shell.
kube_weft_image() {
    local root program
    root=$(mktemp -d)
    mkdir -p "$root"/{bin,tmp,etc,run,var/lib}
    chmod 1777 "$root/tmp"
    printf 'root:x:0:0:root:/:/bin/sh\n' >"$root/etc/passwd"
    for program in weft weft-net weft-ipam; do kube_with_libraries "$root" "$WEFT_BIN_DIR/$program" "/usr/local/bin/$program"; done
    kube_with_libraries "$root" "$(PATH=$PATH:/usr/sbin command -v nft)" /usr/sbin/nft
    # What nft looks names of protocols up in.
    install -m 0644 -- /etc/protocols "$root/etc/protocols"
    install -m 0755 -- "$(command -v busybox)" "$root/bin/busybox"
    for program in sh sleep cat ls; do ln -s busybox "$root/bin/$program"; done
    kube_archive "$1" "$root" "$(kube_weft_image_name)" \
        '{"Entrypoint": ["/usr/local/bin/weft"], "Cmd": ["launch"], "Env": ["PATH=/usr/local/bin:/usr/sbin:/bin"]}'
    rm -rf -- "$root"
}

# The image that the manifest names.
kube_weft_image_name() {
    sed -n 's/^ *image: //p' "$WEFT_REPO/deploy/kubernetes/weft.yaml" | sort -u | head -n 1
}
