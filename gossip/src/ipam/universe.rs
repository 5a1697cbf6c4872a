//! The ranges, and addresses as numbers in one line: IPv4 in its IPv4-mapped form.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::{error::RestoreError, limits::*, wire::RawRange};

/// The number of an address.
pub(super) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of a number.
pub(super) fn address(number: u128) -> IpAddr {
    let v6 = Ipv6Addr::from(number);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// One range. Invariant: at least four addresses, at most 2^120.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// As configured, host bits cleared.
    pub(super) net: IpNet,
    /// The first address, never handed out.
    pub(super) start: u128,
    /// The last address, never handed out.
    pub(super) end: u128,
}

impl Range {
    fn new(net: IpNet) -> Result<Self, RestoreError> {
        let bad = |why| Err(RestoreError::BadRange { range: net.to_string(), why });
        let net = net.trunc();
        let start = number(net.network());
        let host_bits = match net {
            IpNet::V4(v4) => {
                if v4.prefix_len() > 30 {
                    return bad("it has no room for pods; use at most a /30");
                }
                32 - v4.prefix_len()
            }
            IpNet::V6(v6) => {
                if v6.prefix_len() > 126 {
                    return bad("it has no room for pods; use at most a /126");
                }
                if v6.prefix_len() < 8 || start < 1 << 120 {
                    return bad(
                        "it is not inside one usable /8; use a ULA prefix such as fd00::/48",
                    );
                }
                128 - v6.prefix_len()
            }
        };
        Ok(Self { net, start, end: start + ((1_u128 << host_bits) - 1) })
    }

    /// How many addresses there are.
    pub(super) fn size(&self) -> u128 {
        self.end - self.start + 1
    }

    /// Whether an address may be handed out.
    pub(super) fn usable(&self, number: u128) -> bool {
        number > self.start && number < self.end
    }

    /// The first and the last address that may be handed out.
    pub(super) fn bounds(&self) -> (u128, u128) {
        (self.start + 1, self.end - 1)
    }

    /// The first and the last address of `subnet`, which is inside, that may be handed out: not its
    /// own first and last one, where it has more than these two. `None` if there is none.
    pub(super) fn bounds_of(&self, subnet: &IpNet) -> Option<(u128, u128)> {
        let (first, last) = (number(subnet.network()), number(subnet.broadcast()));
        let edge = u128::from(last - first > 1);
        let (low, high) = self.bounds();
        let bounds = (low.max(first + edge), high.min(last - edge));
        (bounds.0 <= bounds.1).then_some(bounds)
    }

    /// How many of the addresses `start` to `end`, which are inside, may be handed out.
    pub(super) fn usable_in(&self, start: u128, end: u128) -> u128 {
        (end - start + 1) - u128::from(start == self.start) - u128::from(end == self.end)
    }

    /// Free addresses below which a node asks for more.
    pub(super) fn low_water(&self) -> u128 {
        (self.size() / LOW_WATER_PART).min(LOW_WATER)
    }

    /// How many addresses a node asks for at first.
    pub(super) fn first_block(&self) -> u64 {
        match self.net {
            IpNet::V4(_) => FIRST_BLOCK_V4,
            IpNet::V6(_) => FIRST_BLOCK_V6,
        }
    }
}

/// All ranges, in the order of the configuration. Invariant: at least one, disjoint, not adjacent,
/// so that consecutive addresses are always of one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Universe {
    ranges: Vec<Range>,
}

impl Universe {
    pub(super) fn new(nets: &[IpNet]) -> Result<Self, RestoreError> {
        let bad = |range: String, why| Err(RestoreError::BadRange { range, why });
        if nets.is_empty() {
            return bad("(none)".into(), "a cluster needs a range, for example 10.32.0.0/12");
        }
        if nets.len() > MAX_RANGES {
            return bad(join(nets.iter()), "use at most one IPv4 and one IPv6 range");
        }
        let mut ranges = Vec::with_capacity(nets.len());
        for net in nets {
            let range = Range::new(*net)?;
            let same_family =
                |other: &Range| other.net.addr().is_ipv4() == range.net.addr().is_ipv4();
            if ranges.iter().any(same_family) {
                return bad(join(nets.iter()), "use at most one IPv4 and one IPv6 range");
            }
            ranges.push(range);
        }
        Ok(Self { ranges })
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Range)> {
        self.ranges.iter().enumerate()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Range> {
        self.ranges.get(index)
    }

    /// The range that holds all of `start` to `end`, with its place; `None` also if `end` is before
    /// `start`.
    pub(super) fn range_of(&self, start: u128, end: u128) -> Option<(usize, &Range)> {
        self.iter().find(|(_, range)| range.start <= start && start <= end && end <= range.end)
    }

    /// The range that a subnet is part of, with its place.
    pub(super) fn range_around(&self, subnet: &IpNet) -> Option<(usize, &Range)> {
        self.range_of(number(subnet.network()), number(subnet.broadcast()))
    }

    /// The address with the prefix length of its range; a host route if it is in none.
    pub(super) fn with_prefix(&self, number: u128) -> IpNet {
        let ip = address(number);
        let prefix_len = self.range_of(number, number).map(|(_, range)| range.net.prefix_len());
        prefix_len.and_then(|len| IpNet::new(ip, len).ok()).unwrap_or_else(|| IpNet::from(ip))
    }

    pub(super) fn raw(&self) -> Vec<RawRange> {
        self.ranges
            .iter()
            .map(|range| RawRange { start: range.start, prefix_len: range.net.prefix_len() })
            .collect()
    }
}

impl std::fmt::Display for Universe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&join(self.ranges.iter().map(|range| &range.net)))
    }
}

/// Ranges of others as text; what makes no sense as a range is shown as numbers.
pub(super) fn show_ranges(ranges: &[RawRange]) -> String {
    let show = |range: &RawRange| format!("{}/{}", address(range.start), range.prefix_len);
    join(ranges.iter().take(MAX_RANGES).map(show))
}

fn join<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}
