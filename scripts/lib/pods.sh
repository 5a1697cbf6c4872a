# shellcheck shell=bash
# Pods of a lab: network namespaces that the CNI plugins wire, as a runtime would.

pod_ns() { printf 'weft-%s-h%s-%s\n' "$LAB_TAG" "$1" "$2"; }
pod_dir() { printf '%s/pods/%s\n' "$(host_dir "$1")" "$2"; }

host_pods() {
    local dir
    for dir in "$(host_dir "$1")"/pods/*/; do [[ -d $dir ]] && basename "$dir"; done
    return 0
}

# pod_address I NAME: the Pod's first address, without the prefix length.
pod_address() {
    jq -r '.ips[0].address | split("/")[0]' "$(pod_dir "$1" "$2")/result.json" 2>/dev/null || echo -
}

require_pod() {
    [[ -d $(pod_dir "$1" "$2") ]] || die "host $1 of lab '$LAB_TAG' has no Pod '$2'"
}

# default_conflist: what `pod` and the container runtime use, unless they are given another.
default_conflist() {
    cat <<'JSON'
{
  "cniVersion": "1.0.0",
  "name": "weft",
  "plugins": [{ "type": "weft-net" }]
}
JSON
}

# call_plugins VERB I NAME CONFLIST: runs the list for one verb (backwards for DEL) and prints the last result.
call_plugins() {
    local verb=$1 host=$2 name=$3 list=$4 order='.plugins | keys[]' index config type plugin result='' dir
    [[ $verb != DEL ]] || order='.plugins | keys | reverse[]'
    for index in $(jq -r "$order" "$list"); do
        config=$(jq -c --argjson i "$index" '.plugins[$i] + {name, cniVersion}' "$list")
        if [[ $verb == DEL || $verb == CHECK ]]; then result=$(cat "$(pod_dir "$host" "$name")/result.json" 2>/dev/null || true); fi
        if [[ -n $result ]]; then config=$(jq -c --argjson prev "$result" '. + {prevResult: $prev}' <<<"$config"); fi
        type=$(jq -r .type <<<"$config")
        plugin=
        for dir in "$WEFT_BIN_DIR" /opt/cni/bin /usr/lib/cni; do
            if [[ -x $dir/$type ]]; then plugin=$dir/$type && break; fi
        done
        [[ -n $plugin ]] || die "no CNI plugin '$type' in $WEFT_BIN_DIR, /opt/cni/bin or /usr/lib/cni"
        result=$(CNI_COMMAND=$verb CNI_CONTAINERID=$(pod_ns "$host" "$name") CNI_IFNAME=eth0 \
            CNI_NETNS=/run/netns/$(pod_ns "$host" "$name") CNI_PATH=$WEFT_BIN_DIR:/opt/cni/bin:/usr/lib/cni \
            CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=$name" \
            on_host "$host" "$plugin" <<<"$config") || {
            printf '%s %s of Pod %s failed: %s\n' "$type" "$verb" "$name" "$result" >&2
            return 1
        }
    done
    printf '%s\n' "$result"
}

# lab_pod I NAME [CONFLIST]: makes a Pod and prints its address.
lab_pod() {
    local host=$1 name=$2 dir ns
    [[ $name =~ ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ ]] || usage_error "pod: a name of a-z, 0-9 and '-', not '$name'"
    find_binaries
    dir=$(pod_dir "$host" "$name")
    ns=$(pod_ns "$host" "$name")
    [[ ! -e $dir ]] || die "host $host has a Pod '$name' already"
    mkdir "$dir"
    if [[ -n ${3:-} ]]; then cp -- "$3" "$dir/conflist"; else default_conflist >"$dir/conflist"; fi
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    if ! call_plugins ADD "$host" "$name" "$dir/conflist" >"$dir/result.new"; then
        ip netns del "$ns"
        rm -rf -- "$dir"
        return 1
    fi
    mv -- "$dir/result.new" "$dir/result.json"
    pod_address "$host" "$name"
}

# lab_unpod I NAME: DEL, then the namespace goes.
lab_unpod() {
    local host=$1 name=$2 status=0
    require_pod "$host" "$name"
    find_binaries
    call_plugins DEL "$host" "$name" "$(pod_dir "$host" "$name")/conflist" >/dev/null || status=$?
    ((status == 0)) || return "$status"
    ip netns del "$(pod_ns "$host" "$name")"
    rm -rf -- "$(pod_dir "$host" "$name")"
}

# lab_podcheck I NAME: CHECK.
lab_podcheck() {
    require_pod "$1" "$2"
    find_binaries
    call_plugins CHECK "$1" "$2" "$(pod_dir "$1" "$2")/conflist"
}

# lab_podexec I NAME COMMAND...
lab_podexec() {
    local host=$1 name=$2
    shift 2
    require_pod "$host" "$name"
    in_ns "$(pod_ns "$host" "$name")" "$@"
}

# lab_pods: a line for each Pod of the lab: host, name, address.
lab_pods() {
    local host pod
    for host in $(lab_hosts); do
        for pod in $(host_pods "$host"); do
            printf '%s %s %s\n' "$host" "$pod" "$(pod_address "$host" "$pod")"
        done
    done
}

# lab_pingall [SECONDS]: one ping between every ordered pair of Pods; prints the pairs that fail and the sum.
lab_pingall() {
    local line other good=0 all=0 pods failed=()
    mapfile -t pods < <(lab_pods)
    local h1 n1 a1 h2 n2 a2
    for line in "${pods[@]}"; do
        read -r h1 n1 a1 <<<"$line"
        for other in "${pods[@]}"; do
            read -r h2 n2 a2 <<<"$other"
            [[ $line != "$other" ]] || continue
            all=$((all + 1))
            if lab_podexec "$h1" "$n1" ping -n -q -c 1 -W "${1:-3}" "$a2" >/dev/null 2>&1; then
                good=$((good + 1))
            else
                failed+=("no answer: h$h1/$n1 $a1 -> h$h2/$n2 $a2")
            fi
        done
    done
    if ((${#failed[@]})); then printf '%s\n' "${failed[@]}"; fi
    say "$good of $all pings"
    ((good == all))
}
