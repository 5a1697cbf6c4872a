//! Paths that die without a word: packets are dropped, nothing is reset.

use serde_json::Value;

use crate::harness::{Lab, PATIENCE, eventually};

/// A host's connection to another.
pub(crate) fn connection(lab: &Lab, host: usize, to: usize) -> Result<Value, String> {
    let table = lab.json(host, &["status", "connections", "--json"])?;
    let rows = table.as_array().ok_or("no table")?;
    let nickname = format!("h{to}");
    let row = rows.iter().find(|row| row["nickname"] == nickname.as_str());
    row.cloned().ok_or_else(|| format!("host {host} has no connection to {nickname}: {table}"))
}

#[test]
fn a_silent_cut_is_noticed_at_both_ends_and_told() {
    let lab = Lab::mesh("silent");
    for direction in [None, Some("--one-way")] {
        let cut = ["cut", "1", "2"];
        lab.ok(cut.iter().copied().chain(direction));
        for (host, to) in [(1, 2), (2, 1)] {
            eventually("dead path in the status", PATIENCE, || {
                let row = connection(&lab, host, to)?;
                let detail = row["detail"].as_str().unwrap_or_default();
                if detail.contains("the direct path is dead") && row["loss_percent"] != 0 {
                    Ok(())
                } else {
                    Err(row.to_string())
                }
            });
        }
        lab.ok(["heal"]);
        lab.await_mesh(2 * PATIENCE);
    }
}
