//! The secrets that one node accepts: one, and a second while the cluster changes it.

use super::{ClusterSecret, SecretError};

/// One secret, or two while a cluster changes from one to the other. Two have equal rights: whoever knows one of them is
/// admitted.
#[derive(Clone, Debug)]
pub struct Secrets {
    first: ClusterSecret,
    second: Option<ClusterSecret>,
}

impl Secrets {
    /// How many there may be.
    pub const MAX: usize = 2;

    /// Reads one secret a line; empty lines do not count.
    ///
    /// # Errors
    /// [`SecretsError`], whose text never repeats a secret.
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let Some((number, first)) = lines.next() else {
            return Err(SecretsError::Only(SecretError::Empty));
        };
        let second = lines.next();
        if lines.next().is_some() {
            return Err(SecretsError::TooMany);
        }
        let Some((second_number, second)) = second else {
            return Ok(ClusterSecret::parse(first)?.into());
        };
        let parse = |number: usize, line| {
            let line_number = number.saturating_add(1);
            ClusterSecret::parse(line).map_err(|why| SecretsError::Line { line_number, why })
        };
        let (first, second) = (parse(number, first)?, parse(second_number, second)?);
        if first.key() == second.key() {
            return Err(SecretsError::Twice);
        }
        Ok(Self { first, second: Some(second) })
    }

    /// All of them, the first first.
    pub fn iter(&self) -> impl Iterator<Item = &ClusterSecret> {
        std::iter::once(&self.first).chain(&self.second)
    }

    /// Whether there are two.
    pub fn is_changing(&self) -> bool {
        self.second.is_some()
    }
}

impl From<ClusterSecret> for Secrets {
    fn from(first: ClusterSecret) -> Self {
        Self { first, second: None }
    }
}

/// Why a text is not taken as secrets. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// The only one is refused.
    #[error(transparent)]
    Only(#[from] SecretError),
    /// One of two is refused.
    #[error("line {line_number}: {why}")]
    Line {
        /// Its line, from 1.
        line_number: usize,
        /// Why.
        why: SecretError,
    },
    /// Both are the same.
    #[error("both lines hold the same cluster secret; leave one of them out")]
    Twice,
    /// More than two lines.
    #[error("more than two cluster secrets; keep the old one and the new one, each on a line")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(byte: u8) -> String {
        ClusterSecret::from_entropy([byte; 32]).to_text().to_string()
    }

    #[test]
    fn one_or_two_lines() {
        let (a, b) = (text(1), text(2));
        let texts = |secrets: Secrets| -> Vec<_> {
            secrets.iter().map(|secret| secret.to_text().to_string()).collect()
        };
        let one = Secrets::parse(&format!("\n  {a}\r\n\n")).unwrap();
        assert!(!one.is_changing());
        assert_eq!(texts(one), std::slice::from_ref(&a));
        let two = Secrets::parse(&format!("{b}\n{a}\n")).unwrap();
        assert!(two.is_changing());
        assert_eq!(texts(two), [b, a]);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_repeated() {
        let (a, b, c) = (text(1), text(2), text(3));
        let refused = |text: &str| Secrets::parse(text).unwrap_err();
        assert_eq!(refused(" \n\n"), SecretsError::Only(SecretError::Empty));
        assert_eq!(refused("password"), SecretsError::Only(SecretError::TooShort { len: 8 }));
        let why = SecretError::TooShort { len: 8 };
        assert_eq!(
            refused(&format!("{a}\n\npassword\n")),
            SecretsError::Line { line_number: 3, why }
        );
        assert!(!refused(&format!("{a}\npassword")).to_string().contains("password"));
        let cut = &b[..b.len() - 1];
        let why = SecretError::Checksum;
        assert_eq!(refused(&format!("{cut}\n{a}")), SecretsError::Line { line_number: 1, why });
        assert_eq!(refused(&format!("{a}\n{}", a.to_uppercase())), SecretsError::Twice);
        assert_eq!(refused(&format!("{a}\n{b}\n{c}")), SecretsError::TooMany);
    }
}
