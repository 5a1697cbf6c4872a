//! What policies let through and dropped.

use weft_api::enforcement::{DirectionVerdict, DroppedPacket, Explanation, PolicyStatus};

use super::{clean, width};

/// `weft status policy`, by namespace and name.
pub(in crate::cli) fn policies(rows: &[PolicyStatus]) -> String {
    let mut named: Vec<_> =
        rows.iter().map(|row| (clean(&format!("{}/{}", row.namespace, row.name)), row)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let wide = width(named.iter().map(|(name, _)| name), 24);
    let lines = named.iter().map(|(name, row)| {
        format!(
            "{name:wide$} {:<15} {:>4} of {:<5} Pods here {:>10} allowed {:>10} denied\n",
            row.directions.join("+"),
            row.local_pods,
            row.pods,
            row.allowed_packets,
            row.denied_packets,
        )
    });
    lines.collect()
}

/// `weft policy explain`.
pub(in crate::cli) fn explanation(answer: &Explanation) -> String {
    let line = |what: &str, verdict: &DirectionVerdict| {
        format!("{what:8} {:7} {}\n", clean(&verdict.verdict), clean(&verdict.reason))
    };
    format!(
        "{}\n{}{}",
        clean(&answer.verdict),
        line("egress", &answer.egress),
        line("ingress", &answer.ingress)
    )
}

/// A line of `weft policy drops`; the time is UTC.
pub(in crate::cli) fn dropped(packet: &DroppedPacket) -> String {
    let end = |address: &str, pod: &Option<String>, port: Option<u16>| {
        let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
        match pod {
            Some(pod) => format!("{} ({}){port}", clean(pod), clean(address)),
            None => format!("{}{port}", clean(address)),
        }
    };
    let seconds = packet.time_ms / 1000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{:03} {} {} -> {}: {}\n",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        packet.time_ms % 1000,
        clean(&packet.protocol),
        end(&packet.source, &packet.source_pod, None),
        end(&packet.destination, &packet.destination_pod, packet.port),
        clean(&packet.reason),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_packet_names_both_ends_and_the_reason() {
        let packet = DroppedPacket {
            sequence: 1,
            time_ms: 3_723_004,
            source: "10.32.0.1".into(),
            source_pod: Some("x/web".into()),
            destination: "192.0.2.9".into(),
            destination_pod: None,
            protocol: "TCP".into(),
            port: Some(443),
            reason: "isolated for egress by x/closed".into(),
        };
        assert_eq!(
            dropped(&packet),
            "01:02:03.004 TCP x/web (10.32.0.1) -> 192.0.2.9 port 443: isolated for egress by x/closed\n"
        );
    }

    #[test]
    fn policies_are_sorted_and_counted() {
        let row = |name: &str, allowed_packets| PolicyStatus {
            namespace: "x".into(),
            name: name.into(),
            directions: vec!["ingress".into(), "egress".into()],
            local_pods: 1,
            pods: 12,
            allowed_packets,
            denied_packets: 7,
        };
        assert_eq!(
            policies(&[row("b", 0), row("a", 5)]),
            "x/a                      ingress+egress     1 of 12    Pods here          5 allowed          7 denied\n\
             x/b                      ingress+egress     1 of 12    Pods here          0 allowed          7 denied\n"
        );
    }
}
