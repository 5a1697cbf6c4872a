//! The cipher of data packets is negotiated, shown, and may be forced.

use crate::harness::{Lab, PATIENCE, eventually};

#[test]
fn a_forced_cipher_is_used_or_the_refusal_says_why() {
    let lab = Lab::up("cipher", 3);
    lab.launch(1, &["--ipalloc-init", "founder", "--cipher", "aes-256-gcm"]);
    lab.launch(2, &["h1", "--cipher", "chacha20-poly1305"]);
    lab.launch(3, &["h1", "h2"]);
    let table = eventually("a connection to each from the third", PATIENCE, || {
        let table = lab.json(3, &["status", "connections", "--json"])?;
        let established = |row: &&serde_json::Value| row["state"] == "established";
        let count = table.as_array().into_iter().flatten().filter(established).count();
        if count == 2 { Ok(table) } else { Err(table.to_string()) }
    });
    for (nickname, cipher) in [("h1", "aes-256-gcm"), ("h2", "chacha20-poly1305")] {
        let rows = table.as_array().expect("it is a list");
        let row = rows.iter().find(|row| row["nickname"] == nickname);
        assert_eq!(row.map(|row| &row["cipher"]), Some(&cipher.into()), "{table}");
    }
    eventually("reason at the second", PATIENCE, || {
        let text = lab.json(2, &["status", "connections", "--json"])?.to_string();
        let why = "no common cipher: this node allows chacha20-poly1305, the peer aes-256-gcm";
        if text.contains(why) { Ok(()) } else { Err(text) }
    });
    // The one who was dialled knows it, too.
    eventually("warning at the first", PATIENCE, || {
        let warnings = lab.status(1)?["warnings"].to_string();
        let why = "cannot connect: no common cipher: this node allows aes-256-gcm, the peer chacha20-poly1305";
        if warnings.contains(why) { Ok(()) } else { Err(warnings) }
    });
    let log = lab.log(1);
    let said: Vec<_> = log.lines().filter(|line| line.contains("no common cipher")).collect();
    assert!(said.len() == 1 && said[0].contains("WARN"), "{said:#?}");
}
