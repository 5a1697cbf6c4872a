//! Waiting for descriptors, and waking who waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A flag that many threads can wait for; once raised it stays raised.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// Makes a flag that is not raised.
    ///
    /// # Errors
    /// When the process has run out of descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?))
    }

    /// Raises the flag: everyone who waits for it, or will, returns at once.
    pub fn raise(&self) {
        // The only failure is a counter that is full, and then the flag is raised already.
        let _ = self.0.write(1);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A bell for one thread: it rings until that thread has heard it.
#[derive(Debug)]
pub struct Bell(EventFd);

impl Bell {
    /// Makes a bell that is silent.
    ///
    /// # Errors
    /// When the process has run out of descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_value_and_flags(0, flags)?))
    }

    /// Rings, from any thread.
    pub fn ring(&self) {
        // The only failure is a counter that is full, and then it rings already.
        let _ = self.0.write(1);
    }

    fn silence(&self) {
        // The only failure is a bell that is silent already.
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What [`readable_or_raised`] saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// The source has something to read, or has failed, which a read will tell.
    pub source: bool,
    /// The flag is raised.
    pub raised: bool,
}

/// Blocks until `source` can be read, `bell` rings, which silences it, or `waker` is raised, and answers whether
/// `waker` is. Costs nothing while it waits.
///
/// # Errors
/// What `poll` says; an interruption by a signal is not an error, the wait goes on.
pub fn readable_rung_or_raised(source: impl AsFd, bell: &Bell, waker: &Waker) -> io::Result<bool> {
    let [_, rung, raised] = wait([source.as_fd(), bell.as_fd(), waker.as_fd()])?;
    if rung {
        bell.silence();
    }
    Ok(raised)
}

/// Blocks until `source` can be read or `waker` is raised. Costs nothing while it waits.
///
/// # Errors
/// What `poll` says; an interruption by a signal is not an error, the wait goes on.
pub fn readable_or_raised(source: impl AsFd, waker: &Waker) -> io::Result<Ready> {
    let [source, raised] = wait([source.as_fd(), waker.as_fd()])?;
    Ok(Ready { source, raised })
}

/// Blocks until one of them can be read, and answers which can.
fn wait<const N: usize>(sources: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut fds = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Errors and hang-ups are reported without being asked for; they too count as ready.
    Ok(fds.each_ref().map(|fd| fd.any().unwrap_or(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_raised_flag_stays_raised_and_ends_every_wait() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let waker = Waker::new().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| readable_or_raised(&socket, &waker).unwrap());
            waker.raise();
            assert_eq!(waiter.join().unwrap(), Ready { source: false, raised: true });
        });
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let ready = readable_or_raised(&socket, &waker).unwrap();
        assert_eq!(ready, Ready { source: true, raised: true });
    }

    #[test]
    fn a_bell_rings_until_it_is_heard() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (bell, waker) = (Bell::new().unwrap(), Waker::new().unwrap());
        bell.ring();
        bell.ring();
        assert!(!readable_rung_or_raised(&socket, &bell, &waker).unwrap());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| readable_rung_or_raised(&socket, &bell, &waker).unwrap());
            waker.raise();
            assert!(waiter.join().unwrap(), "a silent bell ends no wait");
        });
    }
}
