//! The peers that this node keeps dialling.

use weft_api::status::Target;

use super::clean;

/// `weft status targets`: one a line as it was given, so that `weft forget` takes them.
pub(in crate::cli) fn targets(targets: &[Target]) -> String {
    let mut texts: Vec<_> = targets.iter().map(|target| clean(&target.target)).collect();
    texts.sort();
    texts.iter().map(|text| format!("{text}\n")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use weft_api::status::ConnectionState;

    /// Two targets.
    pub(in crate::cli::render) fn example() -> Vec<Target> {
        ["h9:7000", "10.99.0.2"]
            .map(|target| Target {
                target: target.into(),
                state: ConnectionState::Connecting,
                peer: None,
            })
            .into()
    }

    pub(in crate::cli::render) const EXAMPLE: &str = "10.99.0.2\nh9:7000\n";

    #[test]
    fn one_a_line() {
        assert_eq!(targets(&example()), EXAMPLE);
    }
}
