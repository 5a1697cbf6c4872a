# shellcheck shell=bash
# Installs what the scripts need and the machine lacks, with one apt call.

# Each line: a command that proves the package, and the Debian package.
readonly WEFT_TOOLS='
ip iproute2
nft nftables
ping iputils-ping
iperf3 iperf3
tcpdump tcpdump
socat socat
jq jq
curl curl
setpriv util-linux
shellcheck shellcheck
busybox busybox-static
containerd containerd
runc runc
podman podman
/usr/lib/cni/bridge containernetworking-plugins
iptables iptables
nc.openbsd netcat-openbsd
openssl openssl
dash dash
flock util-linux
python3 python3
tc iproute2
ethtool ethtool
cc gcc
valgrind valgrind
'

# missing_tools: the packages of the commands that are not there, one a line.
missing_tools() {
    local tool package
    while read -r tool package; do
        [[ -n $tool ]] || continue
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || printf '%s\n' "$package"
    done <<<"$WEFT_TOOLS"
}

# install_tools: installs them, quietly; says what it does.
install_tools() {
    local packages
    mapfile -t packages < <(missing_tools)
    ((${#packages[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "these are missing and there is no apt-get to install them: ${packages[*]}"
    require_root "installing ${packages[*]}"
    say "Installing ${packages[*]}"
    local log
    log=$(mktemp)
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq \
        --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f -- "$log"
        die "apt-get could not install ${packages[*]}"
    fi
    rm -f -- "$log"
    mapfile -t packages < <(missing_tools)
    ((${#packages[@]} == 0)) || die "still missing after apt-get: ${packages[*]}"
}

# missing_capabilities: what the namespace tests need of the machine and it lacks, one a line.
# Every line is found by trying, not by asking for names of capabilities.
missing_capabilities() {
    local ns=weft-probe-$$
    if [[ $(id -u) != 0 ]]; then
        say "root (these tests make network namespaces)"
        return
    fi
    [[ -c /dev/net/tun ]] || say "/dev/net/tun (modprobe tun, or give the container the device)"
    if ! ip netns add "$ns" 2>/dev/null; then
        say "network namespaces (ip netns add; needs CAP_SYS_ADMIN)"
        return
    fi
    ip -n "$ns" link add br0 type bridge 2>/dev/null || say "bridges (modprobe bridge; needs CAP_NET_ADMIN)"
    ip -n "$ns" link add v0 type veth peer name v1 2>/dev/null || say "veth pairs (modprobe veth)"
    ip -n "$ns" tuntap add t0 mode tap 2>/dev/null || say "TAP devices (the tun driver refused one)"
    ip netns exec "$ns" nft 'add table bridge probe' 2>/dev/null || say "nftables for bridges (nf_tables)"
    ip netns exec "$ns" nft 'add table inet probe' 2>/dev/null || say "nftables (nf_tables)"
    unshare --mount true 2>/dev/null || say "mount namespaces (unshare --mount)"
    ip netns del "$ns"
}

# require_capabilities: stops, naming all that is missing.
require_capabilities() {
    local missing
    missing=$(missing_capabilities)
    [[ -z $missing ]] && return 0
    {
        say "${0##*/}: this machine cannot run the namespace tests; it lacks:"
        printf '  - %s\n' "${missing//$'\n'/$'\n'  - }"
    } >&2
    exit 1
}
