//! How long the steps of the packet path take: `cargo bench -p weft-dataplane`.

use criterion::{Criterion, criterion_group, criterion_main};
use weft_dataplane::gauge::{Gauge, Step};

fn path(criterion: &mut Criterion) {
    let mut gauge = Gauge::new();
    for (name, step) in Step::ALL {
        criterion.bench_function(name, |bencher| bencher.iter(|| gauge.run(step)));
    }
}

criterion_group!(benches, path);
criterion_main!(benches);
