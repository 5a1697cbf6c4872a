//! Files in, a table or a reason out.

use super::*;

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.1}}\n";
const ENDED: &str =
    "---\n{apiVersion: v1, kind: Pod, metadata: {name: z}, status: {phase: Failed}}\n";
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}
";

/// Reads manifests as files named 0, 1, .. of a directory, whose name is cut off from the answer.
fn read_texts(texts: &[&str]) -> (Result<Cluster, String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let path = directory.path().join(index.to_string());
        fs::write(&path, text).unwrap();
        files.push(path.to_str().unwrap().to_owned());
    }
    let prefix = format!("{}/", directory.path().to_str().unwrap());
    match read(&files) {
        Ok((cluster, remarks)) => {
            (Ok(cluster), remarks.iter().map(|line| line.replace(&prefix, "")).collect())
        }
        Err(failure) => {
            assert_eq!(failure.exit(), super::super::Exit::Failed);
            (Err(failure.to_string().replace(&prefix, "")), Vec::new())
        }
    }
}

#[test]
fn files_make_one_cluster_in_their_order() {
    let other = POD.replace("name: a", "name: z, namespace: x");
    let (cluster, remarks) = read_texts(&[POD, &other, POLICY]);
    let cluster = cluster.unwrap();
    let names: Vec<_> = cluster.pods.iter().map(weft_policy::Pod::full_name).collect();
    assert_eq!(names, ["default/a", "x/z"]);
    assert_eq!(cluster.policies.len(), 1);
    assert_eq!(remarks, [""; 0]);
}

#[test]
fn every_problem_is_told_with_its_file_object_and_field() {
    let twice = format!("{POD}---\n{POD}");
    let bad = POLICY.replace("10.0.0.0/8", "10.0.0.0/33");
    let (error, _) = read_texts(&[&twice, &bad, "a: [", POD]);
    assert_eq!(
        error.unwrap_err().lines().collect::<Vec<_>>(),
        [
            "0: Pod default/a is given twice: remove one of them",
            "1: NetworkPolicy default/p: spec.ingress[0].from[0].ipBlock.cidr: must be a network \
             such as 10.0.0.0/8 or 2001:db8::/32",
            "2: unclosed bracket '[' at line 1, column 4",
            "3: Pod default/a is given twice: remove one of them",
        ]
    );
    let (error, _) = read_texts(&[POLICY]);
    assert_eq!(
        error.unwrap_err(),
        "there is no Pod in the files: the table is of Pods, add their manifests"
    );
    let failure = read(&["/nowhere/x.yaml".to_owned()]).unwrap_err().to_string();
    assert!(failure.starts_with("cannot read /nowhere/x.yaml: "), "{failure}");
}

#[test]
fn what_may_surprise_is_remarked() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: s}}";
    let homeless = POD.replace("name: a", "name: b").replace("podIP", "other");
    let typo = POLICY.replace("ingress:", "ingres:");
    let all = format!("{POD}---\n{homeless}{ENDED}---\n{service}");
    let (cluster, remarks) = read_texts(&[&all, POLICY]);
    assert_eq!(cluster.unwrap().pods.len(), 2);
    assert_eq!(
        remarks,
        [
            "0: left out: Service (v1)",
            "Pod default/z has ended: left out",
            "1 of 2 Pods have no status.podIP: no ipBlock contains them",
        ]
    );
    let (_, remarks) = read_texts(&[POD, &typo]);
    assert_eq!(remarks, ["1: NetworkPolicy default/p: spec.ingres: is not a known field"]);
}

#[test]
fn a_name_that_no_pod_knows_is_remarked() {
    let port = "spec: {containers: [{ports: [{name: http, containerPort: 80}]}]}";
    let (cluster, _) = read_texts(&[&POD.replace("status:", &format!("{port}, status:"))]);
    let cluster = cluster.unwrap();
    let remark = |port: &str| unknown_port(&cluster, &port.parse().unwrap());
    assert_eq!(remark("http/tcp"), None);
    assert_eq!(remark("80/udp"), None);
    assert_eq!(
        remark("http/udp").unwrap(),
        "no Pod has a port UDP/http: give a number, or a name from a containerPort"
    );
}

#[test]
fn the_document_is_that_of_the_contract() {
    let document = Document {
        port: "TCP/80".into(),
        pods: vec!["default/a".into()],
        matrix: vec![".".into()],
    };
    assert_eq!(
        serde_json::to_string(&document).unwrap(),
        r#"{"port":"TCP/80","pods":["default/a"],"matrix":["."]}"#
    );
}
