# shellcheck shell=bash
# shellcheck disable=SC2034 # for those who source this
# Where the parts of the Kubernetes lab are, what they are called, and how a command gets there.
#
# Everything lies in KUBE_DIR or in the namespaces weft-kube-*. Each node has a network and a mount namespace; /run,
# /var/lib, /var/log, /etc/cni and /opt in there are the node's own, so that the manifest's real paths can be used on
# both nodes and every mount goes with the namespace.

readonly KUBE_DIR=/var/tmp/weft-kube
readonly KUBE_NODES=(kn1 kn2)
readonly KUBE_SWITCH=weft-kube-net
readonly KUBE_CONTROL_ADDRESS=10.98.0.254
readonly KUBE_API=https://$KUBE_CONTROL_ADDRESS:6443
readonly KUBE_SERVICE_RANGE=10.96.0.0/16
readonly KUBE_POD_RANGE=10.32.0.0/12
# What a lab with --dual-stack has besides.
readonly KUBE_CONTROL_ADDRESS6=fd98::fe
readonly KUBE_SERVICE_RANGE6=fd96::/112
readonly KUBE_POD_RANGE6=fd32::/48
readonly KUBE_WEFT_NAMESPACE=kube-system

kube_node_ns() { printf 'weft-kube-%s\n' "$1"; }
kube_node_dir() { printf '%s/%s\n' "$KUBE_DIR" "$1"; }
kube_node_address6() { printf 'fd98::%s\n' "${1#kn}"; }
kube_node_address() { printf '10.98.0.%s\n' "${1#kn}"; }

# kube_dual: whether this lab has both families.
kube_dual() { [[ -e $KUBE_DIR/dual-stack ]]; }

# kube_families V4 V6: what is to be written where one or both families may stand.
kube_families() { if kube_dual; then printf '%s,%s\n' "$1" "$2"; else printf '%s\n' "$1"; fi; }

# kube_log NAME, kube_pid NAME: files of a process of the lab.
kube_log() { printf '%s/log/%s\n' "$KUBE_DIR" "$1"; }
kube_pid() { printf '%s/pid/%s\n' "$KUBE_DIR" "$1"; }

# kube_control COMMAND...: where the control plane runs.
kube_control() { nsenter --net="/run/netns/$KUBE_SWITCH" -- "$@"; }

# kube_on NODE COMMAND...: in the node's namespaces.
kube_on() {
    local node=$1 holder
    shift
    holder=$(our_process "$(kube_pid "holder-$node")") || die "node $node is not up"
    nsenter --target "$holder" --mount --net -- "$@"
}

# kube_start NAME COMMAND...: starts a process of the lab and remembers it.
kube_start() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$(kube_log "$name")" 2>&1 &
    remember_process "$(kube_pid "$name")" "$!"
}

kubectl() { kube_control "$(kube_bin)/kubectl" --kubeconfig "$KUBE_DIR/admin.kubeconfig" "$@"; }

# kube_wait SECONDS WHAT COMMAND...: polls; on failure says what it waited for, shows the end of the log WHAT if there
# is one, and stops.
kube_wait() {
    local seconds=$1 what=$2
    shift 2
    wait_until "$seconds" "$@" && return 0
    if [[ -s $(kube_log "$what") ]]; then tail -n 15 "$(kube_log "$what")" >&2; fi
    die "$what: not there after $seconds s; logs are in $KUBE_DIR/log"
}
