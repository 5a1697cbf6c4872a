//! From the sources to a [`Config`]: precedence, parsing, and all problems at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use weft_crypto::{ClusterSecret, Secrets};
use zeroize::Zeroizing;

use super::error::{ConfigError, Origin, Place, Problems};
use super::setting::{Kind, Setting};
use super::{Config, PeerAddr, file, value};

/// The variable that holds the secret itself.
const SECRET_VARIABLE: &str = "WEFT_SECRET";
/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "WEFT_CONFIG";
/// More than any secret has; keeps a mistaken path from being read whole.
const MAX_SECRET_FILE: u64 = 4096;

/// Where a configuration comes from, so that tests need neither environment nor `/etc`.
pub struct Sources<'a> {
    /// What stood on the command line, as text; a list may have several elements.
    pub flags: BTreeMap<Setting, Vec<String>>,
    /// `--config FILE`.
    pub config_file: Option<PathBuf>,
    /// The file that is read if it exists and no other is named.
    pub default_file: PathBuf,
    /// Looks up a variable of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The host's name, which is the nickname by default.
    pub hostname: String,
}

impl Config {
    /// Decides every setting. Reads the configuration file and the secret file, and touches nothing
    /// else.
    ///
    /// # Errors
    /// All that is wrong in any source that counts: a value that a stronger source overrides is
    /// not looked at.
    pub fn resolve(sources: &Sources<'_>) -> Result<Self, Problems> {
        let mut resolver = Resolver::new(sources);
        let secrets = resolver.secrets();
        // A stand-in lets the other settings be checked although the secret is wrong; it never
        // leaves this function.
        let missing = secrets.is_none();
        let (secrets, file) =
            secrets.unwrap_or_else(|| (ClusterSecret::from_entropy([0; 32]).into(), None));
        let mut config = Self::with_defaults(String::new(), secrets);
        config.secret_file = file;
        resolver.apply(&mut config);
        config.warnings = resolver.warnings;
        if missing || !resolver.problems.is_empty() {
            return Err(Problems(resolver.problems));
        }
        Ok(config)
    }
}

impl Config {
    /// The data directory that the sources name; `None` where none of them does. The secret is not
    /// looked at.
    ///
    /// # Errors
    /// The value that counts, or the configuration file, is wrong.
    pub fn data_dir(sources: &Sources<'_>) -> Result<Option<PathBuf>, Problems> {
        let mut resolver = Resolver::new(sources);
        let dir = resolver.one(Setting::DataDir, value::path);
        if resolver.problems.is_empty() { Ok(dir) } else { Err(Problems(resolver.problems)) }
    }

    /// The data directory where nothing else is said.
    pub fn default_data_dir() -> PathBuf {
        super::DEFAULT_DATA_DIR.into()
    }
}

/// The sources, read, and what has been found wrong with them so far.
pub(super) struct Resolver<'a> {
    sources: &'a Sources<'a>,
    file: BTreeMap<Setting, Vec<String>>,
    file_path: PathBuf,
    problems: Vec<ConfigError>,
    warnings: Vec<String>,
}

impl<'a> Resolver<'a> {
    fn new(sources: &'a Sources<'a>) -> Self {
        let named = sources
            .config_file
            .clone()
            .or_else(|| (sources.environment)(FILE_VARIABLE).map(PathBuf::from))
            .filter(|path| !path.as_os_str().is_empty());
        let file_path = named.clone().unwrap_or_else(|| sources.default_file.clone());
        let mut problems = Vec::new();
        let file = match std::fs::read_to_string(&file_path) {
            Ok(text) => file::parse(&file_path, &text, &mut problems),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                BTreeMap::new()
            }
            Err(error) => {
                let why = format!("cannot be read: {error}");
                problems.push(ConfigError::File { file: file_path.clone(), why });
                BTreeMap::new()
            }
        };
        Self { sources, file, file_path, problems, warnings: Vec::new() }
    }

    /// Sets every field but secret and warnings.
    fn apply(&mut self, config: &mut Config) {
        match self.one(Setting::Nickname, value::nickname) {
            Some(nickname) => config.nickname = nickname,
            None => config.nickname = self.nickname_of_host(),
        }
        self.set(&mut config.port, Setting::Port, value::port);
        self.set(&mut config.data_dir, Setting::DataDir, value::path);
        self.set(&mut config.socket, Setting::Socket, value::socket_path);
        self.set(&mut config.status_addr, Setting::StatusAddr, value::socket_addr);
        self.set(&mut config.ipalloc_init, Setting::IpallocInit, str::parse);
        self.set(&mut config.bridge, Setting::Bridge, value::interface);
        self.set(&mut config.mtu, Setting::Mtu, str::parse);
        self.set(&mut config.conn_limit, Setting::ConnLimit, value::conn_limit);
        self.set(&mut config.cipher, Setting::Cipher, str::parse);
        self.set(&mut config.tunnel, Setting::Tunnel, str::parse);
        self.set(&mut config.rekey_interval, Setting::RekeyInterval, value::rekey_interval);
        self.set(&mut config.realtime, Setting::Realtime, value::on_or_off);
        self.set(&mut config.workers, Setting::Workers, str::parse);
        self.set(&mut config.policy_established, Setting::PolicyEstablished, str::parse);
        self.set(&mut config.log_level, Setting::LogLevel, str::parse);
        if let Some(off) = self.one(Setting::NoDiscovery, value::switch) {
            config.discovery = !off;
        }
        self.set(&mut config.stand_by, Setting::StandBy, value::switch);
        if let Some(ranges) = self.ranges() {
            config.ipalloc_range = ranges;
            config.ipalloc_range_explicit = true;
        }
        if let Some(subnets) = self.list(Setting::TrustedSubnets, value::network) {
            if !subnets.is_empty() {
                self.warnings.push(
                    "trusted-subnets has no effect yet: everything is encrypted everywhere"
                        .to_owned(),
                );
            }
            config.trusted_subnets = subnets;
        }
        if let Some(peers) = self.list(Setting::Peers, str::parse::<PeerAddr>) {
            for peer in peers {
                if !config.peers.iter().any(|known| known.same_target(&peer, config.port)) {
                    config.peers.push(peer);
                }
            }
        }
        config.kubernetes = self.kubernetes(&config.nickname);
    }

    /// The strongest source's texts for a setting, and where they stand. An empty variable counts as
    /// unset, as scripts pass variables on that way.
    fn raw(&mut self, setting: Setting) -> Option<(Vec<String>, Place)> {
        if let Some(texts) = self.sources.flags.get(&setting) {
            return Some((texts.clone(), Place { setting, origin: Origin::Flag }));
        }
        if let Some(text) = self.variable(&setting.variable()) {
            return Some((vec![text], Place { setting, origin: Origin::Environment }));
        }
        let texts = self.file.get(&setting)?;
        let origin = Origin::File(self.file_path.clone());
        Some((texts.clone(), Place { setting, origin }))
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        let text = (self.sources.environment)(name).filter(|text| !text.is_empty())?;
        let text = text.into_string();
        if text.is_err() {
            self.problems.push(ConfigError::NotText { variable: name.to_owned() });
        }
        text.ok()
    }

    /// A setting of one value.
    pub(super) fn one<T, E: std::fmt::Display>(
        &mut self,
        setting: Setting,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (texts, place) = self.raw(setting)?;
        let text = texts.first()?.trim();
        self.check(parse(text), text, place)
    }

    fn set<T, E: std::fmt::Display>(
        &mut self,
        field: &mut T,
        setting: Setting,
        parse: impl Fn(&str) -> Result<T, E>,
    ) {
        if let Some(value) = self.one(setting, parse) {
            *field = value;
        }
    }

    /// A setting of several values; every wrong one is a problem of its own.
    fn list<T, E: std::fmt::Display>(
        &mut self,
        setting: Setting,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        debug_assert_eq!(setting.kind(), Kind::List);
        let (texts, place) = self.raw(setting)?;
        let items = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        // A trailing comma and an empty list are no elements; an empty peer argument is one.
        let items = items.filter(|item| !item.is_empty() || place.origin == Origin::Flag);
        let parsed: Vec<_> =
            items.map(|item| self.check(parse(item), item, place.clone())).collect();
        Some(parsed.into_iter().flatten().collect())
    }

    /// Whether any source has the setting.
    pub(super) fn is_given(&mut self, setting: Setting) -> bool {
        self.raw(setting).is_some()
    }

    /// A value is well formed and yet cannot stand beside others.
    pub(super) fn refuse(&mut self, setting: Setting, value: &str, why: &str) {
        if let Some((_, place)) = self.raw(setting) {
            self.check(Err::<(), _>(why), value, place);
        }
    }

    /// Notes what no single value is wrong with.
    pub(super) fn problem(&mut self, problem: ConfigError) {
        self.problems.push(problem);
    }

    fn check<T, E: std::fmt::Display>(
        &mut self,
        parsed: Result<T, E>,
        text: &str,
        place: Place,
    ) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(why) => {
                let (value, why) = (text.escape_debug().to_string(), why.to_string());
                self.problems.push(ConfigError::Invalid { place, value, why });
                None
            }
        }
    }

    /// The ranges, IPv4 first; at most one of each family.
    fn ranges(&mut self) -> Option<Vec<IpNet>> {
        let before = self.problems.len();
        let mut ranges = self.list(Setting::IpallocRange, value::range)?;
        if self.problems.len() > before {
            return None;
        }
        ranges.sort();
        let families =
            |v4: bool| ranges.iter().filter(|range| matches!(range, IpNet::V4(_)) == v4).count();
        let why = if ranges.is_empty() {
            "needs a range, or leave it out for the default"
        } else if families(true) > 1 || families(false) > 1 {
            "at most one range of IPv4 and one of IPv6"
        } else {
            return Some(ranges);
        };
        let (texts, place) = self.raw(Setting::IpallocRange)?;
        self.check(Err::<(), _>(why), &texts.join(","), place);
        None
    }

    /// The nickname that nobody chose; empty after a problem.
    fn nickname_of_host(&mut self) -> String {
        let name = &self.sources.hostname;
        match value::nickname(name) {
            Ok(nickname) => nickname,
            // Where the operator's own nickname was wrong, that has been said.
            Err(_) if self.raw(Setting::Nickname).is_some() => String::new(),
            Err(why) => {
                let (name, why) = (name.escape_debug().to_string(), why.to_string());
                self.problems.push(ConfigError::Hostname { name, why });
                String::new()
            }
        }
    }

    /// The secrets: a flag's file, else the environment's text or file, else the file's file.
    fn secrets(&mut self) -> Option<(Secrets, Option<PathBuf>)> {
        let direct = self.variable(SECRET_VARIABLE).map(Zeroizing::new);
        let file = self.raw(Setting::SecretFile);
        let file = match (direct, file) {
            (Some(_), Some((_, place))) if place.origin == Origin::Environment => {
                self.problems.push(ConfigError::TwoSecrets);
                return None;
            }
            (_, Some((texts, place))) if place.origin == Origin::Flag => texts,
            (Some(direct), _) => {
                let secrets = Secrets::parse(&direct).map_err(|why| why.to_string());
                return Some((self.checked(SECRET_VARIABLE.to_owned(), secrets)?, None));
            }
            (None, Some((texts, _))) => texts,
            (None, None) => {
                self.problems.push(ConfigError::NoSecret);
                return None;
            }
        };
        let path = PathBuf::from(file.first()?);
        let read = read_secrets(&path).map(|(secrets, warning)| {
            self.warnings.extend(warning);
            secrets
        });
        Some((self.checked(path.display().to_string(), read)?, Some(path)))
    }

    fn checked(
        &mut self,
        source_name: String,
        secrets: Result<Secrets, String>,
    ) -> Option<Secrets> {
        secrets.map_err(|why| self.problems.push(ConfigError::Secret { source_name, why })).ok()
    }
}

/// The secrets in a file, and what the operator should know about it.
///
/// # Errors
/// Why there are none, without the name of the file.
pub(crate) fn read_secrets(path: &Path) -> Result<(Secrets, Option<String>), String> {
    let (text, mode) = read_secret(path)?;
    let secrets = Secrets::parse(&text).map_err(|why| why.to_string())?;
    let warning = (mode & 0o077 != 0).then(|| {
        let name = path.display();
        format!("secret file {name} is open to other users (mode {mode:04o}): chmod 600 it")
    });
    Ok((secrets, warning))
}

/// The text of a secret file and the file's permission bits.
fn read_secret(path: &Path) -> Result<(Zeroizing<String>, u32), String> {
    let io = |error: std::io::Error| format!("cluster secret cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
    let mut text = Zeroizing::new(String::new());
    let length = file.take(MAX_SECRET_FILE + 1).read_to_string(&mut text).map_err(io)?;
    if length as u64 > MAX_SECRET_FILE {
        return Err(format!(
            "cluster secret is longer than {MAX_SECRET_FILE} bytes: is this the right file?"
        ));
    }
    Ok((text, mode))
}
