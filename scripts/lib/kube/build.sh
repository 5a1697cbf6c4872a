# shellcheck shell=bash
# shellcheck disable=SC2034 # for those who source this
# Kubernetes from source: everything comes from the Go module proxy at one version, once per machine.

readonly KUBE_VERSION=v1.36.2
# What Go is fetched when the machine has none, or another: 1.27's JSON breaks the schemas of this Kubernetes.
readonly KUBE_GO_SERIES=go1.26
readonly KUBE_GO_VERSION=go1.26.8

# The modules that live in Kubernetes' own repository, and that its go.mod therefore does not resolve.
readonly KUBE_STAGING='api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider
cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api cri-client cri-streaming
csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator
kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission
sample-apiserver sample-cli-plugin sample-controller streaming'

# In the order in which they are of use.
readonly KUBE_PROGRAMS='etcd kube-apiserver pause kubectl kube-controller-manager kube-scheduler kubelet kube-proxy agnhost e2e.test'

kube_cache() { printf '%s/%s\n' "${WEFT_KUBE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft-kube}" "$KUBE_VERSION"; }
kube_bin() { printf '%s/bin\n' "$(kube_cache)"; }

# kube_built PROGRAM...: whether all of them are there.
kube_built() {
    local program
    for program in "$@"; do [[ -x $(kube_bin)/$program ]] || return 1; done
}

# kube_go: prints the Go to build with; fetches it through the module proxy if the machine's is of another series.
kube_go() {
    local go=''
    if command -v go >/dev/null; then go=$(command -v go); elif [[ -x /usr/local/go/bin/go ]]; then go=/usr/local/go/bin/go; fi
    if [[ -z $go ]]; then
        command -v apt-get >/dev/null || die "there is no Go, and no apt-get to install one: https://go.dev/dl"
        require_root "installing Go"
        DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends golang-go >/dev/null
        go=$(command -v go)
    fi
    printf '%s\n' "$go"
}

# kube_toolchain GO: what GOTOOLCHAIN is to be, so that GO builds as the wanted series.
kube_toolchain() {
    if [[ $("$1" env GOVERSION) == "$KUBE_GO_SERIES"* ]]; then printf 'local\n'; else printf '%s\n' "$KUBE_GO_VERSION"; fi
}

# kube_module: writes a module that knows Kubernetes at that version, unless it stands.
kube_module() {
    local dir module
    dir=$(kube_cache)/module
    [[ ! -s $dir/go.mod ]] || return 0
    mkdir -p "$dir/etcd" "$dir/pause"
    {
        printf 'module weft.test/kube\n\ngo 1.26\n\nrequire k8s.io/kubernetes %s\n\nreplace (\n' "$KUBE_VERSION"
        for module in $KUBE_STAGING; do printf '\tk8s.io/%s => k8s.io/%s v0.%s\n' "$module" "$module" "${KUBE_VERSION#v1.}"; done
        printf ')\n'
    } >"$dir/go.mod.new"
    cp -- "$WEFT_REPO/scripts/lib/kube/etcd.go.txt" "$dir/etcd/main.go"
    cp -- "$WEFT_REPO/scripts/lib/kube/pause.go.txt" "$dir/pause/main.go"
    mv -- "$dir/go.mod.new" "$dir/go.mod"
}

# kube_build PROGRAM...: builds what is missing. Minutes each when cold; WEFT_KUBE_JOBS compilers at a time (2).
kube_build() {
    local program go log minor bin
    bin=$(kube_bin)
    kube_built "$@" && return 0
    go=$(kube_go)
    mkdir -p "$bin"
    log=$(kube_cache)/build.log
    # One build at a time: a second one waits and finds it done.
    exec {KUBE_LOCK}>"$(kube_cache)/lock"
    flock "$KUBE_LOCK"
    kube_module
    minor=${KUBE_VERSION#v1.}
    minor=${minor%%.*}
    for program in "$@"; do
        [[ ! -x $bin/$program ]] || continue
        say "Building $program $KUBE_VERSION (once; $log)"
        (
            cd "$(kube_cache)/module"
            export CGO_ENABLED=0 GOFLAGS="-mod=mod -p=${WEFT_KUBE_JOBS:-2}" GOTOOLCHAIN
            GOTOOLCHAIN=$(kube_toolchain "$go")
            # The version is what components compare with each other.
            flags="-s -w -X k8s.io/component-base/version.gitVersion=$KUBE_VERSION -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
            case $program in
            e2e.test) "$go" test -c -ldflags "$flags" -o "$bin/$program.new" k8s.io/kubernetes/test/e2e ;;
            etcd | pause) "$go" build -ldflags "$flags" -o "$bin/$program.new" "./$program" ;;
            agnhost) "$go" build -ldflags "$flags" -o "$bin/$program.new" k8s.io/kubernetes/test/images/agnhost ;;
            *) "$go" build -ldflags "$flags" -o "$bin/$program.new" "k8s.io/kubernetes/cmd/$program" ;;
            esac
        ) >>"$log" 2>&1 || { tail -n 20 "$log" >&2 && die "$program could not be built: $log"; }
        mv -- "$bin/$program.new" "$bin/$program"
    done
    exec {KUBE_LOCK}>&-
}
