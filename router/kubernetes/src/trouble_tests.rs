use std::io;

use rustls::CertificateError;

use super::{LONGEST, chain, of_request, one_line};

/// As kube wraps what its connector says.
fn from_tls(error: rustls::Error) -> kube::Error {
    kube::Error::Service(Box::new(io::Error::new(io::ErrorKind::InvalidData, error)))
}

#[test]
fn certificates_out_of_their_time_speak_of_the_clock() {
    for (error, words) in [
        (
            CertificateError::Expired,
            "has expired by this node's clock: set the clock if it is wrong",
        ),
        (
            CertificateError::NotValidYet,
            "is not valid yet by this node's clock: set the clock if it is wrong",
        ),
        (
            CertificateError::UnknownIssuer,
            "by an authority that the kubeconfig or the service account does not know",
        ),
    ] {
        let trouble =
            of_request(&from_tls(rustls::Error::InvalidCertificate(error)), "list", "nodes");
        assert!(trouble.answered && trouble.why.contains(words), "{trouble:?}");
    }
}

#[test]
fn what_the_kernel_says_is_found_below_what_wraps_it() {
    let wrapped = |kind: io::ErrorKind| {
        kube::Error::Service(Box::new(io::Error::other(io::Error::from(kind))))
    };
    for (kind, words) in [
        (io::ErrorKind::ConnectionRefused, "is down"),
        (io::ErrorKind::HostUnreachable, "has no route"),
        (io::ErrorKind::TimedOut, "does not answer in time"),
        (io::ErrorKind::BrokenPipe, "did not answer to list nodes"),
    ] {
        let trouble = of_request(&wrapped(kind), "list", "nodes");
        assert!(!trouble.answered && trouble.why.contains(words), "{trouble:?}");
    }
}

#[test]
fn words_of_others_are_one_short_line() {
    assert_eq!(one_line("a\n\tb\u{1b}[31m  c"), "a b[31m c");
    let long = one_line(&"word ".repeat(10_000));
    assert!(long.len() <= LONGEST + 4, "{}", long.len());
    // One word without an end.
    assert!(one_line(&"x".repeat(10_000)).len() <= LONGEST + 4);
    assert_eq!(chain(&io::Error::other(io::Error::other("inner"))), "inner");
}
