//! What `/metrics` exports. The figures are kept by the parts; this names them.
//!
//! A scrape takes a [`Snapshot`] in the event loop and encodes it outside of it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// What a figure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// Only grows; `_total` is added to its name.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Type {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
        }
    }

    fn encode(self, value: u64, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter => ConstCounter::new(value).encode(encoder),
            Self::Gauge => ConstGauge::new(value).encode(encoder),
        }
    }
}

/// Figures of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Type,
    samples: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// All figures at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    families: Vec<Family>,
}

impl Snapshot {
    /// Adds a counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, Type::Counter, vec![(Vec::new(), value)]);
    }

    /// Adds a gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.push(name, help, Type::Gauge, vec![(Vec::new(), value)]);
    }

    /// Adds a counter for each value of a label.
    pub(super) fn counters<V: Into<String>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (V, u64)>,
    ) {
        self.push(name, help, Type::Counter, labelled(label, values));
    }

    /// Adds a gauge for each value of a label.
    pub(super) fn gauges<V: Into<String>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (V, u64)>,
    ) {
        self.push(name, help, Type::Gauge, labelled(label, values));
    }

    fn push(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Type,
        samples: Vec<(Vec<(&'static str, String)>, u64)>,
    ) {
        self.families.push(Family { name, help, kind, samples });
    }

    /// The figures in the OpenMetrics text format.
    pub(super) fn encode(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("weft");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn labelled<V: Into<String>>(
    label: &'static str,
    values: impl IntoIterator<Item = (V, u64)>,
) -> Vec<(Vec<(&'static str, String)>, u64)> {
    values.into_iter().map(|(value, n)| (vec![(label, value.into())], n)).collect()
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in &self.families {
            let kind = family.kind.metric_type();
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            // A family without labels would be written as `name{}`.
            if let [(labels, value)] = family.samples.as_slice()
                && labels.is_empty()
            {
                family.kind.encode(*value, metric)?;
                continue;
            }
            for (labels, value) in &family.samples {
                family.kind.encode(*value, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_format() {
        let mut snapshot = Snapshot::default();
        snapshot.counter("things", "Things", 3);
        snapshot.gauges("connections", "Connections", "state", [("established", 2), ("failed", 0)]);
        let expected = "# HELP weft_things Things\n# TYPE weft_things counter\n\
            weft_things_total 3\n\
            # HELP weft_connections Connections\n# TYPE weft_connections gauge\n\
            weft_connections{state=\"established\"} 2\nweft_connections{state=\"failed\"} 0\n# EOF\n";
        assert_eq!(snapshot.encode().unwrap(), expected);
    }
}
