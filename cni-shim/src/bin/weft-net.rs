//! The CNI plugin `weft-net`; all of it is in [`weft_cni_shim::cni`].

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_cni_shim::cni::main()
}
