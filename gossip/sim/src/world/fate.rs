//! What befalls the machines, one thing at a time.

use std::time::Duration;

use rand_core::Rng;

use super::World;

/// By how much clocks are off at most, seconds.
const CLOCK_ERROR: u64 = 12 * 3600;

impl World {
    /// One thing happens. Returns the hosts that may have something to say about it.
    pub(super) fn step(&mut self) -> Vec<usize> {
        let host = self.pick(self.hosts.len());
        match self.rng.next_u64() % 100 {
            0..40 => {
                let pods: usize = self.hosts.iter().map(|host| host.pods.len()).sum();
                if pods < self.setting.pods {
                    self.pods += 1;
                    let key = format!("pod-{}", self.pods);
                    let request = self.request();
                    self.allocate(host, key, request);
                }
            }
            40..60 => self.release(host),
            60..67 => self.crash(host),
            67..75 => self.partition(),
            75..82 => self.reunite(),
            84..87 if self.setting.apart() => self.heal_word(host),
            82..87 => self.reset_link(),
            87..88 => self.step_clock(host),
            88..90 => self.leave(host),
            90..92 if self.setting.removals => self.die(host),
            92..96 if self.setting.removals => return self.remove_some(host),
            96..98 if self.setting.removals => self.come_back(),
            98..100 if self.setting.removals => self.rejoin(),
            _ => {}
        }
        vec![host]
    }

    /// Somebody sets the time of day, by hours, forward or back; or a daemon was not run for hours by
    /// its own clock.
    fn step_clock(&mut self, host: usize) {
        let seconds = self.rng.next_u64() % CLOCK_ERROR;
        let kind = self.rng.next_u64() % 3;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let signed = i64::try_from(seconds).unwrap_or(0);
        match kind {
            0 => machine.clock_error = signed,
            1 => machine.clock_error = -signed,
            _ => {
                if let Some(daemon) = machine.daemon.as_mut() {
                    daemon.leap(Duration::from_secs(seconds));
                }
            }
        }
        self.report.clock_steps += 1;
        self.note(|| format!("h{host}: clock steps by {seconds} s, manner {kind}"));
    }

    /// From here on nothing fails any more.
    pub(super) fn heal(&mut self) {
        self.note(|| "all heals".into());
        self.healed = true;
        self.healed_at = self.now;
        self.side.fill(0);
    }
}
