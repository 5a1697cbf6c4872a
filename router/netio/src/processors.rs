//! Which processors a thread may run on.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread, to the kernel.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// A set of processors, by the kernel's numbers, of which it counts the first 1,024.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processors(CpuSet);

impl Processors {
    /// Those that the calling thread may run on.
    ///
    /// # Errors
    /// What the kernel says: `EINVAL` where it has more processors than are counted.
    pub fn allowed() -> io::Result<Self> {
        Ok(Self(sched_getaffinity(THIS_THREAD)?))
    }

    /// Those among them whose number leaves `rest` when it is divided by `by`; `None` where there are none.
    pub fn every(&self, by: usize, rest: usize) -> Option<Self> {
        let mut chosen = CpuSet::new();
        let numbers = (0..CpuSet::count()).filter(|number| number.checked_rem(by) == Some(rest));
        let mut found = false;
        for number in numbers.filter(|number| self.0.is_set(*number) == Ok(true)) {
            found |= chosen.set(number).is_ok();
        }
        found.then_some(Self(chosen))
    }

    /// Has the calling thread run on these alone, from now on.
    ///
    /// # Errors
    /// `EINVAL` where the thread's control group allows it none of them; nothing has changed then.
    pub fn confine(&self) -> io::Result<()> {
        Ok(sched_setaffinity(THIS_THREAD, &self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_confined_for_itself_and_let_go_again() {
        let before = Processors::allowed().unwrap();
        let thread = std::thread::spawn(|| {
            let all = Processors::allowed().unwrap();
            // Each processor is in one of the two.
            let parts = [0, 1].map(|rest| all.every(2, rest));
            for part in parts.into_iter().flatten() {
                part.confine().unwrap();
                assert_eq!(Processors::allowed().unwrap(), part);
                assert_eq!(part.every(1, 0), Some(part));
                assert_eq!(part.every(2, 0).is_some(), parts[0] == Some(part));
            }
            assert_eq!(all.every(0, 0), None);
            all.confine().unwrap();
            Processors::allowed().unwrap()
        });
        assert_eq!(thread.join().unwrap(), before);
        assert_eq!(Processors::allowed().unwrap(), before);
    }
}
