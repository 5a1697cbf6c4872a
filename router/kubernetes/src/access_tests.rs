use std::path::PathBuf;

use super::{StartError, connect};
use crate::Access;

const KUBECONFIG: &str = r#"{"apiVersion":"v1","kind":"Config","current-context":"c",
"clusters":[{"name":"c","cluster":{"server":"https://192.0.2.1:6443"}}],
"users":[{"name":"c","user":{"token":"t"}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"c"}}]}"#;

fn attempt(content: Option<&str>, server: Option<&str>) -> (Result<(), String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("kubeconfig");
    if let Some(content) = content {
        std::fs::write(&path, content).unwrap();
    }
    let result = connect(&Access::Kubeconfig(path.clone()), server);
    (result.map(drop).map_err(|error| error.to_string()), path.display().to_string())
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_no_error() {
    assert_eq!(attempt(Some(KUBECONFIG), None).0, Ok(()));
    assert_eq!(attempt(Some(KUBECONFIG), Some("https://192.0.2.2:6443")).0, Ok(()));
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_is_named() {
    let no_context = KUBECONFIG.replace("\"current-context\":\"c\",", "");
    let no_cluster =
        KUBECONFIG.replace("\"context\":{\"cluster\":\"c\"", "\"context\":{\"cluster\":\"d\"");
    for content in [None, Some("]["), Some(no_context.as_str()), Some(no_cluster.as_str())] {
        let (result, path) = attempt(content, None);
        let error = result.unwrap_err();
        assert!(error.starts_with(&format!("kubeconfig {path}: ")), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_named() {
    let content = KUBECONFIG.replace("\"token\":\"t\"", "\"tokenFile\":\"/absent/token\"");
    let (result, path) = attempt(Some(&content), None);
    let error = result.unwrap_err();
    assert!(error.contains("/absent/token") && error.contains(&path), "{error}");
}

#[tokio::test]
async fn a_server_is_https_or_refused() {
    for url in ["http://192.0.2.1", "192.0.2.1:6443", "", "https://", "kubernetes"] {
        let error = attempt(Some(KUBECONFIG), Some(url)).0.unwrap_err();
        assert!(error.contains("write it as https://ADDRESS:PORT"), "{error}");
    }
}

#[tokio::test]
async fn outside_a_pod_there_is_no_service_account() {
    let Err(error) = connect(&Access::InCluster, Some("https://192.0.2.1:6443")) else {
        panic!("there is a service account where this test runs")
    };
    assert!(matches!(error, StartError::ServiceAccount(_)));
    let text = error.to_string();
    assert!(
        text.starts_with("no service account in /var/run/secrets/kubernetes.io/serviceaccount: "),
        "{text}"
    );
}
