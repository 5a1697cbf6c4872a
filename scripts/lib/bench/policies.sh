# shellcheck shell=bash
# Policies for the benches.

# How many the data plane is measured with.
# shellcheck disable=SC2034
readonly TABLE_POLICIES=100

# allowing_policy NAME: selects all Pods of `default`, both ways, and lets them talk to each other.
allowing_policy() {
    jq -nc --arg name "$1" '{apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: {name: $name, namespace: "default"},
        spec: {podSelector: {}, policyTypes: ["Ingress", "Egress"], ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}]}]}}'
}

# other_policies COUNT: policies that do not select the measured Pods, over 10 namespaces of which `default` is none; with
# selectors, a range, a named port and a block.
other_policies() {
    jq -nc --argjson count "$1" 'range($count) | {apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy",
        metadata: {name: "p\(.)", namespace: "other\(. % 10)"},
        spec: {podSelector: {matchLabels: {app: "a\(. % 50)"}}, policyTypes: ["Ingress", "Egress"],
            ingress: [{from: [{podSelector: {matchLabels: {app: "a\((. + 1) % 50)"}}}], ports: [{port: "web"}, {port: 9000, endPort: 9100}]},
                {from: [{ipBlock: {cidr: "192.168.\(. % 256).0/24", except: ["192.168.\(. % 256).7/32"]}}]}],
            egress: [{to: [{namespaceSelector: {matchLabels: {tier: "t\(. % 7)"}}}]}]}}'
}

# as_list: the objects on standard input as one.
as_list() { jq -sc '{apiVersion: "v1", kind: "List", items: .}'; }

# load_policies TAG COUNT: gives a lab of two hosts as many policies, one of which selects its Pods and allows what they do.
load_policies() {
    { allowing_policy bench && other_policies $(($2 - 1)); } | as_list >"$BENCH_WORK/policies.json"
    bench_lab "$1" weft 1 policy apply -f "$BENCH_WORK/policies.json" >/dev/null || return 1
    await_policies "$1" "$2"
}

# await_policies TAG COUNT: until both hosts have as many in force.
await_policies() {
    wait_until 30 policies_in_force "$1" 1 "$2" && wait_until 30 policies_in_force "$1" 2 "$2"
}

# policies_in_force TAG HOST COUNT
policies_in_force() {
    bench_lab "$1" weft "$2" status --json | jq -e --argjson count "$3" '.policy.enforcing and .policy.policies == $count'
}
