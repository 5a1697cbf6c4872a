//! The crate against a real kube-apiserver over a real etcd, with the rights that the crate's documentation lists and no
//! others.
//!
//! The two programs are what `scripts/kube-lab build` has left in its cache (`WEFT_KUBE_CACHE`, else `~/.cache/weft-kube`).
//! Where they are absent, the test says by name what it did not run. They listen on loopback, keep their state in a
//! temporary directory, and end with the test however that ends.
#![allow(clippy::unwrap_used, reason = "a harness of tests: what is malformed must fail")]

mod apiserver {
    pub(crate) mod cluster;
    pub(crate) mod heard;
    pub(crate) mod steps;
}

use apiserver::cluster::{self, Cluster};
use apiserver::steps::STEPS;

#[test]
fn against_a_real_api_server() {
    let Some(programs) = cluster::programs() else {
        for (name, _) in STEPS {
            println!(
                "not run: {name} (no kube-apiserver and etcd in {}; scripts/kube-lab build makes them)",
                cluster::cache().display()
            );
        }
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut cluster = Cluster::start(programs, &runtime);
    for (name, step) in STEPS {
        println!("step: {name}");
        runtime.block_on(step(&mut cluster));
    }
    println!("the API server spent {:?} of processor time", cluster.processor_time());
}
