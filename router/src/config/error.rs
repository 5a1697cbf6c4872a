//! What can be wrong with a configuration. Every problem is one line for the operator.

use std::fmt;
use std::path::PathBuf;

use super::setting::Setting;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The configuration file.
    File(PathBuf),
    /// Nobody: the built-in value.
    Default,
}

/// A setting together with where its value came from; prints as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The setting.
    pub setting: Setting,
    /// The source of the value.
    pub origin: Origin,
}

impl Place {
    /// The words between "invalid" and the value: `--port`, `WEFT_PORT`, `port`, `peer`.
    fn noun(&self) -> String {
        match (&self.origin, self.setting) {
            (_, Setting::Peers) => "peer".to_owned(),
            (Origin::Flag, setting) => format!("--{setting}"),
            (Origin::Environment, setting) => setting.variable(),
            (Origin::File(_) | Origin::Default, setting) => setting.to_string(),
        }
    }

    /// The words after the value: empty where the noun has said it all.
    fn origin_suffix(&self) -> String {
        match (&self.origin, self.setting) {
            (Origin::Environment, Setting::Peers) => " in WEFT_PEERS".to_owned(),
            (Origin::File(path), _) => format!(" in {}", path.display()),
            (Origin::Flag | Origin::Environment | Origin::Default, _) => String::new(),
        }
    }
}

/// One thing wrong with the configuration. No variant holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that cannot be what its setting needs.
    #[error("invalid {} \"{value}\"{}: {why}", place.noun(), place.origin_suffix())]
    Invalid {
        /// The setting and its source.
        place: Place,
        /// The value, or the element of a list that is wrong.
        value: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A key of the file that is no setting.
    #[error("unknown key \"{key}\" in {}: {}", file.display(), hint(key, *nearest))]
    UnknownKey {
        /// The configuration file.
        file: PathBuf,
        /// The key.
        key: String,
        /// The setting whose name is nearest, where one is near.
        nearest: Option<Setting>,
    },
    /// A key of the file whose value is of another type than its setting needs.
    #[error("invalid {setting} in {}: {why}", file.display())]
    WrongType {
        /// The configuration file.
        file: PathBuf,
        /// The setting.
        setting: Setting,
        /// What it must be.
        why: &'static str,
    },
    /// The file cannot be read, or is not TOML.
    #[error("configuration file {}: {why}", file.display())]
    File {
        /// The configuration file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A variable that is not text.
    #[error("{variable} is not UTF-8 text")]
    NotText {
        /// The variable.
        variable: String,
    },
    /// No source names a secret.
    #[error(
        "no cluster secret: give --secret-file FILE or set WEFT_SECRET; make one with `weft secret new`"
    )]
    NoSecret,
    /// Two variables name a secret.
    #[error("WEFT_SECRET and WEFT_SECRET_FILE are both set: unset one of them")]
    TwoSecrets,
    /// The secret cannot be read or is refused. The text of `why` never holds the secret.
    #[error("{source_name}: {why}")]
    Secret {
        /// `WEFT_SECRET` or the file's path.
        source_name: String,
        /// Why it is refused, beginning with "cluster secret".
        why: String,
    },
    /// The host's name does not do as a nickname.
    #[error("the host's name \"{name}\" cannot serve as nickname ({why}): give --nickname NAME")]
    Hostname {
        /// The host's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The nickname does not do as the name of a Node.
    #[error(
        "the nickname \"{name}\" cannot be this node's Node ({why}): give --kubernetes-node NAME"
    )]
    KubernetesNode {
        /// The nickname.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The end of the line about an unknown key.
fn hint(key: &str, nearest: Option<Setting>) -> String {
    match nearest {
        _ if key == "secret" => format!(
            "the secret itself has no place here, name its file with \"{}\"",
            Setting::SecretFile
        ),
        Some(setting) => format!("did you mean \"{setting}\"?"),
        None => "the keys are the flags of `weft launch --help`".to_owned(),
    }
}

/// Everything wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<ConfigError>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
