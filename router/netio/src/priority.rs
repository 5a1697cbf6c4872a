//! The scheduling class of the calling thread.

use std::io;

/// The lowest of the real-time priorities: above all ordinary threads, below everybody else's real-time ones.
const LOWEST: libc::c_int = 1;

/// Puts the calling thread among the real-time ones (`SCHED_RR`), or back among the ordinary ones. Threads and
/// processes that it makes are ordinary in any case.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`, or in a control group without real-time budget; nothing has changed then.
pub fn set_realtime(on: bool) -> io::Result<()> {
    let policy = if on { libc::SCHED_RR } else { libc::SCHED_OTHER };
    let parameters = libc::sched_param { sched_priority: if on { LOWEST } else { 0 } };
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one `sched_param`, which outlives the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether [`set_realtime`] is granted to the threads of this process: tried on a thread that ends with the answer.
///
/// # Errors
/// As [`set_realtime`]; or no thread could be made.
pub fn try_realtime() -> io::Result<()> {
    let trial = std::thread::Builder::new().spawn(|| set_realtime(true))?;
    trial.join().unwrap_or_else(|_| Err(io::Error::other("the trial ended early")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_up_and_down_for_itself() {
        let policy = || {
            // SAFETY: asks about the calling thread and touches no memory.
            unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                set_realtime(true).expect("this test needs CAP_SYS_NICE");
                let up = policy();
                set_realtime(false).unwrap();
                (up, policy())
            });
            assert_eq!(thread.join().unwrap(), (libc::SCHED_RR, libc::SCHED_OTHER));
        });
        assert_eq!(policy(), libc::SCHED_OTHER);
        try_realtime().unwrap();
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
