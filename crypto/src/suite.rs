//! The algorithms for data packets, and how two nodes agree on one.
//!
//! Agreeing is a pure function of two offers, and symmetric: both ends compute it from the offers in their hellos and
//! need no further message. The hellos travel inside the admitted TLS channel, so nobody between can change an offer.

use std::fmt;
use std::str::FromStr;

use crate::cpu::AesUnit;

/// An algorithm for data packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Suite {
    /// ChaCha20-Poly1305 (RFC 8439), which every node has.
    ChaCha20Poly1305,
    /// AES-256-GCM (NIST SP 800-38D), faster where the CPU has instructions for it.
    Aes256Gcm,
}

impl Suite {
    /// All suites, in the order of their bits in [`Suites`].
    pub const ALL: [Self; 2] = [Self::ChaCha20Poly1305, Self::Aes256Gcm];

    /// The name in the contract's spelling; also part of the key schedule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::ChaCha20Poly1305 => 1 << 0,
            Self::Aes256Gcm => 1 << 1,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|suite| suite.name() == text).ok_or(UnknownSuite)
    }
}

/// A set of suites: one byte on the wire, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Suites(u8);

impl Suites {
    /// No suite.
    pub const NONE: Self = Self(0);

    /// Every suite that this version knows.
    pub const ALL: Self = Self::NONE.with(Suite::ChaCha20Poly1305).with(Suite::Aes256Gcm);

    /// The set that a byte stands for. Bits of suites unknown to this version are passed over.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte & Self::ALL.0)
    }

    /// The set as a byte.
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// This set and `suite`.
    #[must_use]
    pub const fn with(self, suite: Suite) -> Self {
        Self(self.0 | suite.bit())
    }

    /// What is in both sets.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `suite` is in the set.
    pub const fn contains(self, suite: Suite) -> bool {
        self.0 & suite.bit() != 0
    }
}

impl fmt::Display for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for suite in Suite::ALL.into_iter().filter(|suite| self.contains(*suite)) {
            write!(f, "{separator}{suite}")?;
            separator = " and ";
        }
        if separator.is_empty() { f.write_str("no known cipher") } else { Ok(()) }
    }
}

impl fmt::Debug for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Suite::ALL.into_iter().filter(|suite| self.contains(*suite))).finish()
    }
}

/// What the operator wants of data packets' encryption: the values of `--cipher`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SuitePolicy {
    /// AES-256-GCM with peers on whose CPU it is fast as it is here, else ChaCha20-Poly1305.
    #[default]
    Auto,
    /// This suite with every peer, and no data with peers that refuse it.
    Force(Suite),
}

impl SuitePolicy {
    /// What this node says to its peers. Depends on the CPU it runs on; the same for the life of the process.
    ///
    /// With instructions for AES, AES-256-GCM was the faster suite in every measurement of
    /// `docs/decisions/0004-aead-backends.md`, without them the slower.
    pub fn offer(self) -> Offer {
        self.offer_on(AesUnit::detect() > AesUnit::Software)
    }

    /// [`Self::offer`] for a CPU that has, or has not, instructions that make AES-256-GCM the faster suite.
    pub const fn offer_on(self, fast_aes: bool) -> Offer {
        match self {
            Self::Auto => Offer {
                supported: Suites::ALL,
                preferred: if fast_aes {
                    Suites::ALL
                } else {
                    Suites::NONE.with(Suite::ChaCha20Poly1305)
                },
            },
            Self::Force(suite) => {
                let only = Suites::NONE.with(suite);
                Offer { supported: only, preferred: only }
            }
        }
    }
}

impl fmt::Display for SuitePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Force(suite) => suite.fmt(f),
        }
    }
}

impl FromStr for SuitePolicy {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Force) }
    }
}

/// What a node says about suites in its hello.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Offer {
    /// The suites it accepts.
    pub supported: Suites,
    /// Those of them that it would rather use; says something about AES-256-GCM only.
    pub preferred: Suites,
}

impl Offer {
    /// The length in bytes on the wire.
    pub const LEN: usize = 2;

    /// What a peer means that makes no offer: ChaCha20-Poly1305 alone.
    pub const ABSENT: Self = Self {
        supported: Suites::NONE.with(Suite::ChaCha20Poly1305),
        preferred: Suites::NONE.with(Suite::ChaCha20Poly1305),
    };

    /// The bytes on the wire: supported, preferred.
    pub const fn encode(self) -> [u8; Self::LEN] {
        [self.supported.to_byte(), self.preferred.to_byte()]
    }

    /// Reads the offer at the start of `bytes`, the rest of a hello. Fewer than [`Self::LEN`] bytes are
    /// [`Self::ABSENT`]; further bytes are passed over.
    pub fn decode(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(Self::ABSENT, |[supported, preferred]| Self {
            supported: Suites::from_byte(*supported),
            preferred: Suites::from_byte(*preferred),
        })
    }
}

/// The suite that two nodes use with each other: of those that both support, AES-256-GCM where it is the only one or
/// both prefer it, else ChaCha20-Poly1305. Both ends get the same answer.
///
/// # Errors
/// [`NoCommonSuite`] if they support none in common, as when each is forced to another one. No session is possible.
pub fn negotiate(ours: Offer, theirs: Offer) -> Result<Suite, NoCommonSuite> {
    let common = ours.supported.common(theirs.supported);
    let chacha = common.contains(Suite::ChaCha20Poly1305);
    let aes = common.contains(Suite::Aes256Gcm);
    let prefer_aes = ours.preferred.common(theirs.preferred).contains(Suite::Aes256Gcm);
    match (chacha, aes) {
        (_, true) if prefer_aes || !chacha => Ok(Suite::Aes256Gcm),
        (true, _) => Ok(Suite::ChaCha20Poly1305),
        (false, _) => Err(NoCommonSuite { ours: ours.supported, theirs: theirs.supported }),
    }
}

/// Two nodes have no cipher for data packets in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no common cipher: this node allows {ours}, the peer {theirs}; give both the same --cipher, or auto"
)]
pub struct NoCommonSuite {
    /// What this node allows.
    pub ours: Suites,
    /// What the peer allows.
    pub theirs: Suites,
}

/// A text names no suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cipher: expected auto, aes-256-gcm or chacha20-poly1305")]
pub struct UnknownSuite;

#[cfg(test)]
mod tests;
