//! What people and runtimes write.

use weft_cni_shim::cni::config::Config;
use weft_cni_shim::cni::env::Command;
use weft_policy::{Cluster, Matrix, PortSpec, parse};

/// The configuration that a runtime hands to a plugin, in both of its forms. What is wrong with it is an error.
pub(crate) fn cni_config(data: &[u8]) {
    for command in [Command::Add, Command::Gc] {
        let _ = Config::parse(data, command);
        let _ = Config::parse_ipam(data, command);
    }
}

/// Manifests: read, or refused; what was read can be asked.
pub(crate) fn policy_yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = parse("input", text) else { return };
    let mut cluster = Cluster::default();
    if cluster.add(parsed.objects).is_err() {
        return;
    }
    let Ok(port) = "80/tcp".parse::<PortSpec>() else { return };
    let rows = Matrix::new(&cluster, &port).rows();
    assert!(rows.iter().all(|row| row.len() == rows.len()));
}
