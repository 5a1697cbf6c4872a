//! What a failure means for an operator: who is at fault, and the cure.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use kube::core::Status;
use kube::runtime::watcher;
use rustls::CertificateError;

/// A failure, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// One line: culprit and cure.
    pub(crate) why: String,
    /// Whether waiting alone will not help, since somebody answered, and not with "later".
    pub(crate) answered: bool,
    /// What a watch has to do about it.
    pub(crate) remedy: Remedy,
}

/// How a watch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// From where it was.
    Resume,
    /// With a new list: what was missed is not known any more, or the stream cannot be trusted. Also by a new client, so
    /// that renewed credentials are read.
    Relist,
    /// The same, and it is nothing to speak of: the API server keeps changes for some minutes only.
    Expired,
}

/// Of a watch; `resource` as the rules of access call it.
pub(crate) fn of_watch(error: &watcher::Error, resource: &str) -> Trouble {
    match error {
        watcher::Error::InitialListFailed(e) => of_request(e, "list", resource),
        watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            of_request(e, "watch", resource)
        }
        watcher::Error::WatchError(status) => of_status(status, "watch", resource),
        watcher::Error::NoResourceVersion => Trouble {
            why: format!(
                "what answers for {resource} sends no resource versions: it is not an API server, or a proxy changes what it says"
            ),
            answered: true,
            remedy: Remedy::Relist,
        },
    }
}

/// Of any request.
pub(crate) fn of_request(error: &kube::Error, verb: &str, resource: &str) -> Trouble {
    if let kube::Error::Api(status) = error {
        return of_status(status, verb, resource);
    }
    if let kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) = error {
        return Trouble {
            why: format!(
                "what answers for {resource} is not what an API server sends ({}): look for a proxy between",
                chain(error)
            ),
            answered: true,
            remedy: Remedy::Relist,
        };
    }
    if let kube::Error::Auth(_) = error {
        return Trouble {
            why: format!("no credentials for the API server: {}: renew them", chain(error)),
            answered: true,
            remedy: Remedy::Relist,
        };
    }
    of_transport(error, verb, resource)
}

fn of_status(status: &Status, verb: &str, resource: &str) -> Trouble {
    let message = one_line(&status.message);
    match status.code {
        // What is neither a change nor a status is read as a status that says nothing.
        0 => Trouble {
            why: format!(
                "what answers for {resource} is not what an API server sends: look for a proxy between"
            ),
            answered: true,
            remedy: Remedy::Relist,
        },
        401 => Trouble {
            why: format!(
                "the API server does not know who asks ({message}): renew the token or the certificate of the service account or of the kubeconfig"
            ),
            answered: true,
            remedy: Remedy::Relist,
        },
        403 => Trouble {
            why: format!(
                "{} may not {} {resource}: grant it, deploy/kubernetes/weft.yaml has the rule",
                subject(&status.message),
                asked(&status.message).unwrap_or(verb)
            ),
            answered: true,
            remedy: Remedy::Relist,
        },
        410 => Trouble {
            why: format!("the changes of {resource} since the last one seen are not kept any more"),
            answered: true,
            remedy: Remedy::Expired,
        },
        // The server is there and asks for patience. A version that it has not reached (504) it may never reach again,
        // as after its store was restored.
        code @ (429 | 500..) => Trouble {
            why: format!(
                "the API server cannot {verb} {resource} at present ({code}: {message}): see to it and its store"
            ),
            answered: false,
            remedy: if code == 504 { Remedy::Relist } else { Remedy::Resume },
        },
        code => Trouble {
            why: format!(
                "the API server does not {verb} {resource} ({code}: {message}): look whether the URL leads to an API server"
            ),
            answered: true,
            remedy: Remedy::Relist,
        },
    }
}

fn of_transport(error: &kube::Error, verb: &str, resource: &str) -> Trouble {
    for cause in causes(error) {
        if let Some(rustls::Error::InvalidCertificate(invalid)) = cause.downcast_ref() {
            return Trouble {
                why: of_certificate(invalid),
                answered: true,
                remedy: Remedy::Relist,
            };
        }
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return Trouble {
                why: format!(
                    "no TLS with the API server: {error}: look whether its URL leads to it, and whether it takes this client's certificate"
                ),
                answered: true,
                remedy: Remedy::Relist,
            };
        }
    }
    // The innermost that the kernel named says most.
    let io = causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .filter(|error| error.get_ref().is_none())
        .last();
    let why = match io.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => {
            "the API server is down: nothing listens at its address".to_owned()
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            "the API server's address has no route: look at this node's network".to_owned()
        }
        Some(io::ErrorKind::TimedOut) => silent(),
        _ if causes(error).any(is_timeout) => silent(),
        _ => format!("the API server did not answer to {verb} {resource}: {}", chain(error)),
    };
    Trouble { why, answered: false, remedy: Remedy::Resume }
}

/// The words for an API server from which nothing comes.
pub(crate) fn silent() -> String {
    "the API server does not answer in time: look whether it is up, and at the network between"
        .to_owned()
}

fn is_timeout(cause: &(dyn Error + 'static)) -> bool {
    let io = cause.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

fn of_certificate(invalid: &CertificateError) -> String {
    match invalid {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the API server's certificate has expired by this node's clock: set the clock if it is wrong, else renew the certificate".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the API server's certificate is not valid yet by this node's clock: set the clock if it is wrong, else the one of who made the certificate".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the API server's certificate is for other names ({invalid}): use one of those in its URL")
        }
        CertificateError::UnknownIssuer => {
            "the API server's certificate is by an authority that the kubeconfig or the service account does not know: look whether the URL leads to the API server, else renew the authority's certificate there".to_owned()
        }
        other => format!("the API server's certificate cannot be used: {other}: renew it"),
    }
}

/// Who was refused, by the API server's own words: `nodes is forbidden: User "NAME" cannot list resource ...`.
fn subject(message: &str) -> String {
    let name = message.split_once("User \"").and_then(|(_, rest)| rest.split_once('"'));
    match name {
        Some((name, _)) if name.starts_with("system:serviceaccount:") => {
            format!("the service account {}", one_line(name))
        }
        Some((name, _)) => format!("the user {}", one_line(name)),
        None => "this user".to_owned(),
    }
}

/// Which verb was refused, by the same.
fn asked(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\" cannot ")?;
    rest.split_once(' ').map(|(verb, _)| verb)
}

/// An error and its causes in one line, each said once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = one_line(&error.to_string());
    for cause in causes(error).skip(1) {
        let next = one_line(&cause.to_string());
        if !text.contains(&next) {
            let _ = write!(text, ": {next}");
        }
    }
    text
}

/// An error and what it came from. An [`io::Error`] that wraps another names as its source the source of that one.
fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> + 'a {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// The longest text of others that is passed on.
const LONGEST: usize = 400;

/// What others wrote, fit for one line of a log or a status.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.len() + word.len() >= LONGEST {
            line.push_str(" ...");
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !c.is_control()));
    }
    line
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
