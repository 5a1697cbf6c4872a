//! The daemon, the command line and the CNI plugin on real kernels' parts: network namespaces, TAP
//! devices, bridges, containerd. Everything is driven from outside, through `scripts/lab`, as a
//! person would.
//!
//! Needs root, `/dev/net/tun` and the tools that `scripts/test` installs; a machine without them
//! fails these tests, it does not skip them. One lab runs at a time. To look at a lab by hand:
//! `docs/testing.md`.
//!
//! Reading order: [`harness`] (what a lab is here), [`mesh`] (the main job), [`starts`] (other ways
//! to get there), [`neighbours`] (no question crosses the mesh), then the ways in which it can go
//! wrong: [`bad_input`], [`secret`], [`rotate`], [`cipher`], [`garbage`], [`flood`], [`hostile`], [`crash`], [`partition`], [`paths`], [`shapes`], [`tunnel`], [`removal`],
//! [`restart`], [`rekey`]; what nodes share: [`objects`], and what a Kubernetes API tells them: [`kubernetes`]; the other ways in: [`cli`], [`cni`], [`containers`],
//! [`podman`], [`cri`], [`chains`], [`expose`]; and what Pods must
//! not do: [`ports`], [`policies`], [`netpol`], [`statements`], the last two by what [`probe`] finds out.

mod bad_input;
mod chains;
mod cipher;
mod cli;
mod cni;
mod containers;
mod crash;
mod cri;
mod cri_client;
mod disk;
mod expose;
mod flood;
mod garbage;
mod harness;
mod hostile;
mod kubernetes;
mod mesh;
mod mtu;
mod nat;
mod neighbours;
mod netpol;
mod objects;
mod partition;
mod paths;
mod podman;
mod policies;
mod ports;
mod probe;
mod rekey;
mod removal;
mod restart;
mod rings;
mod rotate;
mod secret;
mod shapes;
mod shutdown;
mod starts;
mod statements;
mod tunnel;
mod workers;
