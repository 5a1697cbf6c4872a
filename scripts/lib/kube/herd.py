"""Prints objects for `scripts/kube-lab herd`: nodes as kubelets register them, with their Pods; with the first of them
namespaces and policies.

herd.py FROM TO PODS NAMESPACES POLICIES
"""

import json
import sys

first, end, pods, namespaces, policies = map(int, sys.argv[1:])
STAMP = "2026-01-01T00:00:00Z"


def condition(kind, status, reason, message):
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": STAMP, "lastTransitionTime": STAMP}


def node(number):
    address = f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}"
    # A kubelet tells of up to 50 images, each by tag and by digest; half of that here.
    images = [{"names": [f"registry.example.com/team/service-{one}@sha256:{one:064x}", f"registry.example.com/team/service-{one}:v1.{one}.0"],
               "sizeBytes": 50_000_000 + one} for one in range(25)]
    resources = {"cpu": "16", "memory": "65842212Ki", "pods": "110", "ephemeral-storage": "203056560Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0"}
    return {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": f"herd-{number}", "labels": {
            "kubernetes.io/hostname": f"herd-{number}", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": "m5.4xlarge", "topology.kubernetes.io/zone": f"zone-{number % 3}",
            "topology.kubernetes.io/region": "region-1"}, "annotations": {
            "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
        "spec": {"podCIDR": f"10.{number // 256 % 256}.{number % 256}.0/24"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": f"herd-{number}"}],
            "allocatable": resources, "capacity": resources,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "images": images,
            "nodeInfo": {
                "architecture": "amd64", "bootID": f"{number:032x}", "containerRuntimeVersion": "containerd://2.1.0",
                "kernelVersion": "6.12.0", "kubeProxyVersion": "", "kubeletVersion": "v1.36.2", "machineID": f"{number:032x}",
                "operatingSystem": "linux", "osImage": "Debian GNU/Linux 13 (trixie)", "systemUUID": f"{number:032x}"}}}


def pod(number, one):
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": f"pod-{number}-{one}", "namespace": f"herd-{(number + one) % namespaces}",
                     "labels": {"app": f"app-{one}", "tier": "backend", "version": "v1"}},
        "spec": {"nodeName": f"herd-{number}", "containers": [{
            "name": "main", "image": f"registry.example.com/team/service-{one}:v1.{one}.0", "ports": [{"name": "http", "containerPort": 8080}],
            "env": [{"name": f"VARIABLE_{key}", "value": "a value of some length"} for key in range(10)]}]}}


def policy(number):
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": f"policy-{number}", "namespace": f"herd-{number % namespaces}"},
        "spec": {"podSelector": {"matchLabels": {"app": f"app-{number % pods}"}}, "policyTypes": ["Ingress"],
                 "ingress": [{"from": [{"podSelector": {"matchLabels": {"tier": "backend"}}}], "ports": [{"protocol": "TCP", "port": "http"}]}]}}


items = []
if first == 0:
    items += [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"herd-{one}"}} for one in range(namespaces)]
    items += [policy(one) for one in range(policies)]
for each in range(first, end):
    items.append(node(each))
    items += [pod(each, one) for one in range(pods)]
json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)
