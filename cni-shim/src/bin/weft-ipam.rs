//! The CNI plugin `weft-ipam`; all of it is in [`weft_cni_shim::cni`].

use std::process::ExitCode;

use weft_cni_shim::cni::{self, Plugin};

fn main() -> ExitCode {
    cni::main(Plugin::Ipam)
}
