//! Tables for people, in the layouts of Weave Net's commands. Pure: data in, text out.
//!
//! Rows are sorted, so that two runs compare. Texts that other nodes chose are shown with their
//! control characters escaped: a nickname must not be able to drive the reader's terminal.

mod connections;
mod enforcement;
mod ipam;
mod matrix;
mod objects;
mod peers;
mod ps;
mod removals;
mod report;
mod status;
mod targets;

use std::net::SocketAddr;

pub(super) use connections::connections;
pub(super) use enforcement::{dropped, explanation, policies};
pub(super) use ipam::ipam;
pub(super) use matrix::matrix;
pub(super) use objects::objects;
pub(super) use peers::peers;
pub(super) use ps::{addresses, ps};
pub(super) use removals::removals;
pub(super) use report::report;
pub(super) use status::status;
pub(super) use targets::targets;

/// The digits of a full name that people see.
const SHORT_NAME: usize = 10;
/// The width of addresses: `255.255.255.255:65535` (Weave Net's `%-21v`).
const ADDRESS_WIDTH: usize = 21;
/// The width of names (Weave Net's `%-37v`).
const NAME_WIDTH: usize = 37;

/// A node for people: `a1b2c3d4e5(h1)`, without parentheses where no nickname is known.
pub(super) fn name(peer: &str, nickname: &str) -> String {
    let short: String = peer.chars().take(SHORT_NAME).collect();
    if nickname.is_empty() {
        clean(&short)
    } else {
        format!("{}({})", clean(&short), clean(nickname))
    }
}

/// The text with its control characters escaped.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// What addresses are sorted by: as numbers, names after them.
fn address_key(address: &str) -> (bool, Option<SocketAddr>, &str) {
    let parsed: Option<SocketAddr> = address.parse().ok();
    (parsed.is_none(), parsed, address)
}

/// The widest of some texts, but not less than `least`.
fn width<'a>(texts: impl IntoIterator<Item = &'a String>, least: usize) -> usize {
    texts.into_iter().map(|text| text.chars().count()).max().unwrap_or(0).max(least)
}

/// Made-up data for the tests of all tables.
#[cfg(test)]
mod example {
    pub(super) const H1: &str = "a1b2c3d4e5000000000000000000000000000000000000000000000000000001";
    pub(super) const H2: &str = "b1b2c3d4e5000000000000000000000000000000000000000000000000000002";
    pub(super) const H3: &str = "c1b2c3d4e5000000000000000000000000000000000000000000000000000003";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_short_form_and_its_nickname() {
        assert_eq!(name(example::H1, "h1"), "a1b2c3d4e5(h1)");
        assert_eq!(name(example::H1, ""), "a1b2c3d4e5");
        assert_eq!(name("ab", "h1"), "ab(h1)");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(name(example::H1, "h1\n\u{1b}[2J"), "a1b2c3d4e5(h1\\n\\u{1b}[2J)");
        assert_eq!(clean("Zürich"), "Zürich");
    }

    #[test]
    fn addresses_sort_as_numbers() {
        let mut texts = ["h1", "[fd99::1]:1", "10.0.0.10:1", "10.0.0.9:70", "10.0.0.9:8"];
        texts.sort_by(|a, b| address_key(a).cmp(&address_key(b)));
        assert_eq!(texts, ["10.0.0.9:8", "10.0.0.9:70", "10.0.0.10:1", "[fd99::1]:1", "h1"]);
    }
}
