//! What a daemon that was just killed has not let go of yet.
//!
//! After `kill -9` the kernel closes a process's files when its last thread has ended, which is
//! later than its main thread looks dead (`exit_files` in `kernel/exit.c`). Whoever starts the next
//! daemon at that moment finds the lock, the port or the TAP taken. It waits a little instead.
//!
//! A daemon that was told to stand by waits for a living one, however long that lives: an upgrade starts the new
//! daemon first, so that what lies between the two is no longer than it takes to open what the old one closed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a daemon waits for what another holds before it takes it for a living one's.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Repeats `attempt` while it fails with an error that says `held`.
///
/// # Errors
///
/// The last error of `attempt`: one that is not `held` at once, one that is after three seconds.
pub(super) async fn once_free<T, E>(
    held: impl Fn(&E) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error) if held(&error) && Instant::now() < deadline => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// Repeats `attempt` for as long as it fails with an error that says `held`; `waiting` is called once, at the first.
///
/// # Errors
///
/// The first error of `attempt` that is not `held`.
pub(super) async fn whenever_free<T, E>(
    held: impl Fn(&E) -> bool,
    waiting: impl FnOnce(),
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut waiting = Some(waiting);
    loop {
        match attempt().await {
            Err(error) if held(&error) => {
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_becomes_free_is_taken() {
        let mut attempts = 0;
        let outcome = once_free(
            |held: &bool| *held,
            async || {
                attempts += 1;
                if attempts < 5 { Err(true) } else { Ok(attempts) }
            },
        )
        .await;
        assert_eq!(outcome, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_taken_is_an_error_and_other_errors_are_told_at_once() {
        let start = Instant::now();
        assert_eq!(once_free(|held: &bool| *held, async || Err::<(), _>(false)).await, Err(false));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(once_free(|held: &bool| *held, async || Err::<(), _>(true)).await, Err(true));
        assert!(start.elapsed() >= PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_by_outlasts_all_patience_and_says_so_once() {
        let (start, mut said, mut attempts) = (Instant::now(), 0, 0);
        let outcome = whenever_free(
            |held: &bool| *held,
            || said += 1,
            async || {
                attempts += 1;
                if start.elapsed() < 10 * PATIENCE { Err(true) } else { Ok(()) }
            },
        )
        .await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(said, 1);
        assert!(attempts > 1);
        assert_eq!(
            whenever_free(|held: &bool| *held, || (), async || Err::<(), _>(false)).await,
            Err(false)
        );
    }
}
