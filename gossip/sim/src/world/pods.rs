//! Pods start and stop, some with wishes about their addresses.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use rand_core::Rng;
use weft_gossip::ipam::Request;

use super::World;

impl World {
    /// What somebody asks for: mostly any address, now and then one by name, free or not, or one of a
    /// part of a range.
    pub(super) fn request(&mut self) -> Request {
        match self.rng.next_u64() % 8 {
            0 => Request { wanted: self.some_addresses(), ..Request::default() },
            1 => Request { within: vec![self.some_part()], ..Request::default() },
            _ => Request::default(),
        }
    }

    /// One address of each range.
    pub(super) fn some_addresses(&mut self) -> Vec<IpNet> {
        let ranges = self.setting.ranges.clone();
        ranges.into_iter().map(|range| IpNet::from(self.some_address(range))).collect()
    }

    /// One that can be handed out, of the first few of a range.
    fn some_address(&mut self, range: IpNet) -> IpAddr {
        let bits = u32::from(range.max_prefix_len() - range.prefix_len());
        let room = usize::try_from(1_u64 << bits.min(8)).unwrap_or(4);
        let place = 1 + self.pick(room - 2);
        let mut hosts = range.hosts().filter(|ip| *ip != range.network());
        hosts.nth(place - 1).unwrap_or_else(|| range.addr())
    }

    /// A part of the first range.
    fn some_part(&mut self) -> IpNet {
        let range = self.setting.ranges.first().copied().unwrap_or_default();
        let around = self.some_address(range);
        let longer = 1 + u8::try_from(self.pick(3)).unwrap_or(0);
        let prefix = (range.prefix_len() + longer).min(range.max_prefix_len() - 1);
        IpNet::new(around, prefix).map_or(range, |net| net.trunc())
    }

    /// Somebody starts a Pod; answers whether a daemon heard of it.
    pub(super) fn allocate(&mut self, host: usize, key: String, request: Request) {
        let now = self.now;
        self.note(|| format!("h{host}: allocate {key} {:?} {:?}", request.wanted, request.within));
        let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) else {
            return;
        };
        let time = daemon.time(now);
        let deadline = time + Duration::from_secs(30);
        let id = daemon.node.allocate(&key, request.clone(), deadline, time);
        daemon.waiting.insert(id, (key, request));
    }

    pub(super) fn release(&mut self, host: usize) {
        let pods = self.hosts.get(host).map_or(0, |host| host.pods.len());
        if pods > 0 {
            let chosen = self.pick(pods);
            self.release_pod(host, chosen);
        }
    }

    /// The Pod at that place on a host stops, if a daemon is there to hear of it.
    pub(super) fn release_pod(&mut self, host: usize, place: usize) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let Some(daemon) = machine.daemon.as_mut() else { return };
        let Some(key) = machine.pods.keys().nth(place).cloned() else { return };
        machine.pods.remove(&key);
        let time = daemon.time(now);
        daemon.node.release(&key, time);
        machine.stopped.insert(key.clone());
        self.note(|| format!("h{host}: release {key}"));
    }
}

/// Whether these are the addresses that were asked for, one of each of as many ranges.
pub(super) fn answers(request: &Request, ranges: usize, nets: &[IpNet]) -> bool {
    let given = |ip: IpAddr| nets.iter().any(|net| net.addr() == ip);
    nets.len() == ranges
        && request.wanted.iter().all(|net| given(net.addr()))
        && request.within.iter().all(|part| nets.iter().any(|net| part.contains(&net.addr())))
}
