//! The interfaces that have addresses.

use weft_api::attach::{Attachment, EXPOSED};

use super::{clean, width};

/// The digits of a container's id that people see.
const SHORT_ID: usize = 12;
/// The interface that is not worth a word.
const USUAL_IFNAME: &str = "eth0";

/// `weft ps`: container, MAC and addresses; then the interface where it is not `eth0`, and the Pod.
pub(in crate::cli) fn ps(attachments: &[Attachment]) -> String {
    let mut sorted: Vec<_> = attachments.iter().collect();
    // The host itself comes first, as it did with Weave.
    sorted.sort_by_key(|row| (row.container != EXPOSED, &row.container, &row.ifname));
    let ids: Vec<_> = sorted.iter().map(|row| short_id(&row.container)).collect();
    let ips: Vec<_> = sorted.iter().map(|row| joined(row)).collect();
    let (id_width, ip_width) = (width(&ids, SHORT_ID), width(&ips, 0));
    let mut text = String::new();
    for ((row, id), ips) in sorted.into_iter().zip(ids).zip(ips) {
        let mut line = format!("{id:id_width$} {} {ips:ip_width$}", clean(&row.mac));
        if row.ifname != USUAL_IFNAME && row.container != EXPOSED {
            line.push_str(&format!(" {}", clean(&row.ifname)));
        }
        if let Some(pod) = &row.pod {
            let namespace = row.namespace.as_deref().unwrap_or("-");
            line.push_str(&format!(" {}/{}", clean(namespace), clean(pod)));
        }
        if row.fenced.is_some() {
            line.push_str(" - cut off!");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What `weft attach` prints: the addresses, one a line.
pub(in crate::cli) fn addresses(attachment: &Attachment) -> String {
    attachment.ips.iter().map(|ip| format!("{ip}\n")).collect()
}

fn joined(row: &Attachment) -> String {
    row.ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// A runtime's id is cut as runtimes cut it; a path or a name stays whole.
fn short_id(container: &str) -> String {
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    match container.get(..SHORT_ID) {
        Some(short) if container.len() >= 32 && container.chars().all(hex) => short.to_owned(),
        _ => clean(container),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn attachment(container: &str, ifname: &str, pod: Option<&str>, ips: &[&str]) -> Attachment {
        Attachment {
            container: container.into(),
            ifname: ifname.into(),
            namespace: pod.map(|_| "default".into()),
            pod: pod.map(str::to_owned),
            mac: "0a:58:0a:20:00:01".into(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            ..Attachment::default()
        }
    }

    /// The host, a namespace, and a container with two interfaces.
    pub(in crate::cli::render) fn example() -> Vec<Attachment> {
        let id = "5f0c2b7e9d1a".repeat(5) + "abcd";
        vec![
            attachment(&id, "net1", Some("web-0"), &["10.32.0.3/12"]),
            attachment(&id, "eth0", Some("web-0"), &["10.32.0.2/12", "fd00:77::2/48"]),
            attachment("/run/netns/a", "eth0", None, &["10.32.0.1/12"]),
            attachment(EXPOSED, "weft", None, &["10.32.0.4/12"]),
        ]
    }

    pub(in crate::cli::render) const EXAMPLE: &str = "\
weft:expose  0a:58:0a:20:00:01 10.32.0.4/12
/run/netns/a 0a:58:0a:20:00:01 10.32.0.1/12
5f0c2b7e9d1a 0a:58:0a:20:00:01 10.32.0.2/12 fd00:77::2/48 default/web-0
5f0c2b7e9d1a 0a:58:0a:20:00:01 10.32.0.3/12               net1 default/web-0
";

    #[test]
    fn containers_and_namespaces() {
        assert_eq!(ps(&example()), EXAMPLE);
        assert_eq!(ps(&[]), "");
    }

    #[test]
    fn attach_prints_addresses_one_a_line() {
        assert_eq!(addresses(&example()[1]), "10.32.0.2/12\nfd00:77::2/48\n");
    }
}
