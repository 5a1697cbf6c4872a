//! The syntax of names, labels and ports, as `k8s.io/apimachinery` defines it.

/// The longest DNS label (RFC 1123), name part of a label's key, and label value.
const LABEL_MAX: usize = 63;
/// The longest DNS subdomain, as Kubernetes counts it.
const SUBDOMAIN_MAX: usize = 253;
/// The longest name of a port (RFC 6335, section 5.1).
const PORT_NAME_MAX: usize = 15;

/// The name of a namespace.
pub(crate) fn dns_label(text: &str) -> Result<(), &'static str> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.len() <= LABEL_MAX && framed(text, sound, |c| sound(c) || c == '-') {
        Ok(())
    } else {
        Err("must be 1 to 63 of a-z, 0-9 and -, a letter or digit first and last")
    }
}

/// The name of a Pod or a policy.
pub(crate) fn dns_subdomain(text: &str) -> Result<(), &'static str> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.len() <= SUBDOMAIN_MAX
        && text.split('.').all(|part| framed(part, sound, |c| sound(c) || c == '-'))
    {
        Ok(())
    } else {
        Err("must be 1 to 253 of a-z, 0-9, - and ., a letter or digit first and last in each part")
    }
}

/// The key of a label: a name, with a DNS subdomain and a slash before it or without.
pub(crate) fn label_key(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "is no key of a label: 1 to 63 of a-z, A-Z, 0-9, -, _ and ., a letter or \
                        digit first and last, optionally after a DNS name and a slash";
    let name = match text.split_once('/') {
        Some((prefix, name)) => dns_subdomain(prefix).map(|()| name).map_err(|_| RULE)?,
        None => text,
    };
    if name.len() <= LABEL_MAX && framed_name(name) { Ok(()) } else { Err(RULE) }
}

/// The value of a label, which may be empty.
pub(crate) fn label_value(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() <= LABEL_MAX && framed_name(text) {
        Ok(())
    } else {
        Err("is no value of a label: at most 63 of a-z, A-Z, 0-9, -, _ and ., a letter or digit \
             first and last")
    }
}

/// The name of a port.
pub(crate) fn port_name(text: &str) -> Result<(), &'static str> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.len() <= PORT_NAME_MAX
        && framed(text, sound, |c| sound(c) || c == '-')
        && text.contains(|c: char| c.is_ascii_lowercase())
        && !text.contains("--")
    {
        Ok(())
    } else {
        Err(
            "is no name of a port: 1 to 15 of a-z, 0-9 and single -, a letter among them, a letter \
             or digit first and last",
        )
    }
}

fn framed_name(text: &str) -> bool {
    framed(text, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Whether the text is not empty, begins and ends with `edge` and has `inner` between.
fn framed(text: &str, edge: impl Fn(char) -> bool, inner: impl Fn(char) -> bool) -> bool {
    text.starts_with(&edge) && text.ends_with(&edge) && text.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is accepted and what is refused.
    fn check(rule: fn(&str) -> Result<(), &'static str>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn syntax() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        check(dns_label, &["a", "a-1", "1", &long], &["", "-a", "a-", "A", "a.b", "ä", &longer]);
        let subdomain = ["a".repeat(126), "a".repeat(126)].join(".");
        check(
            dns_subdomain,
            &["a", "a.b", "a-1.b", &subdomain],
            &["", ".", "a.", ".a", "a..b", "A", "a_b", &(subdomain.clone() + "a")],
        );
        check(
            label_key,
            &["app", "A_b.c-d", "example.com/app", "1", &long],
            &["", "-a", "a/", "/a", "a/b/c", "Example.com/a", "a b", &longer],
        );
        check(label_value, &["", "a", "A.b_c-1", &long], &["-", "a-", "a b", "a/b", &longer]);
        check(
            port_name,
            &["http", "h", "serve-80-tcp", "a1234567890123-"[..14].trim_end_matches('-')],
            &["", "80", "-http", "http-", "ht--tp", "Http", "abcdefghijklmnop", "a_b"],
        );
    }
}
