//! Classes of round-trip times: coarse, so that what is told of a link rarely changes.

use std::time::Duration;

/// The upper end of class 0.
const UNIT: Duration = Duration::from_micros(250);

/// The highest class; it has no upper end. Its lower one is 4 s.
const MAX: u8 = 15;

/// The class of a round-trip time: the lowest whose upper end, [`UNIT`] times 2^class, it does not
/// exceed.
pub(super) fn of(rtt: Duration) -> u8 {
    (0..MAX).find(|class| rtt <= time(*class)).unwrap_or(MAX)
}

/// The class after a measurement: the old one unless it is off by half.
pub(super) fn renew(old: u8, rtt: Duration) -> u8 {
    let upper = time(old) + time(old) / 2;
    let lower = time(old) / 3;
    if (rtt > upper && old < MAX) || (rtt < lower && old > 0) { of(rtt) } else { old }
}

/// What a class stands for where round trips are added up.
pub(super) fn time(class: u8) -> Duration {
    UNIT * 2_u32.pow(class.min(MAX).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_stays_while_the_time_moves_a_little() {
        let us = Duration::from_micros;
        assert_eq!([us(0), us(250), us(251), us(1000), us(20_000)].map(of), [0, 0, 1, 2, 7]);
        assert_eq!(of(Duration::from_secs(60)), MAX);
        for class in 0..=MAX {
            assert_eq!(of(time(class)), class);
            assert_eq!(renew(class, time(class) * 5 / 4), class);
            assert_eq!(renew(class, time(class) * 2 / 5), class);
        }
        assert_eq!(renew(2, us(1501)), 3);
        assert_eq!(renew(2, us(300)), 1);
        assert_eq!(renew(0, us(0)), 0);
    }
}
