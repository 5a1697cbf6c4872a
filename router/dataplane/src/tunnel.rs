//! Sealed packets inside the control connection to a peer, for networks that let nothing else through.
//!
//! A packet stays sealed end to end as on any other way, so it is encrypted twice. Both directions go through a
//! queue of bounded length, and what does not fit is dropped and counted, as a socket's buffer would do.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weft_netio::wait::Bell;

use crate::DropReason;

/// Packets that wait for the receiving worker. As many as a socket's buffer of about 1.5 MB holds.
const QUEUE: usize = 1024;

/// The way of packets into a control connection.
#[derive(Clone)]
pub struct Tunnel(Arc<Send>);

type Send = dyn Fn(&[u8]) -> bool + core::marker::Send + Sync;

impl Tunnel {
    /// `send` takes a sealed packet and answers whether it did. It is called by the workers and must not block.
    pub fn new(send: impl Fn(&[u8]) -> bool + core::marker::Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    pub(crate) fn send(&self, packet: &[u8]) -> Result<(), DropReason> {
        if (self.0)(packet) { Ok(()) } else { Err(DropReason::TunnelFull) }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// Packets that came out of control connections, until the receiving worker takes them.
#[derive(Debug)]
pub(crate) struct Inlet {
    packets: Mutex<VecDeque<Vec<u8>>>,
    /// Whether there may be packets. Spares the worker the lock while nobody uses a tunnel.
    pending: AtomicBool,
    pub(crate) bell: Bell,
}

impl Inlet {
    pub(crate) fn new() -> std::io::Result<Self> {
        let packets = Mutex::new(VecDeque::new());
        Ok(Self { packets, pending: AtomicBool::new(false), bell: Bell::new()? })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        // Nothing that holds it can panic half-way.
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a packet into the queue; `Err` where that is full.
    pub(crate) fn push(&self, packet: Vec<u8>) -> Result<(), DropReason> {
        {
            let mut packets = self.lock();
            if packets.len() >= QUEUE {
                return Err(DropReason::TunnelFull);
            }
            packets.push_back(packet);
        }
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
        Ok(())
    }

    /// Takes all packets.
    pub(crate) fn take(&self) -> VecDeque<Vec<u8>> {
        if !self.pending.load(Ordering::Acquire) {
            return VecDeque::new();
        }
        // Before the queue: a packet that is put in after it was taken rings the bell again.
        self.pending.store(false, Ordering::Release);
        std::mem::take(&mut *self.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inlet_keeps_the_order_and_its_bound() {
        let inlet = Inlet::new().unwrap();
        assert!(inlet.take().is_empty());
        for n in 0..QUEUE {
            assert_eq!(inlet.push(n.to_le_bytes().to_vec()), Ok(()));
        }
        assert_eq!(inlet.push(vec![0]), Err(DropReason::TunnelFull));
        let taken = inlet.take();
        assert_eq!(taken.len(), QUEUE);
        assert_eq!(taken.back(), Some(&(QUEUE - 1).to_le_bytes().to_vec()));
        assert_eq!(inlet.push(vec![1]), Ok(()));
        assert_eq!(inlet.take(), [vec![1]]);
    }
}
