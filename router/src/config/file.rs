//! The configuration file: TOML with one key for each flag, and no tables.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::error::ConfigError;
use super::setting::{Kind, Setting};

/// Reads the settings of a file's text. What is wrong is added to `problems`, the rest is kept.
pub(super) fn parse(
    file: &Path,
    text: &str,
    problems: &mut Vec<ConfigError>,
) -> BTreeMap<Setting, Vec<String>> {
    let mut settings = BTreeMap::new();
    let table: Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            problems
                .push(ConfigError::File { file: file.to_owned(), why: syntax_error(text, &error) });
            return settings;
        }
    };
    for (key, value) in &table {
        let Some(setting) = Setting::ALL.into_iter().find(|setting| setting.key() == key) else {
            problems.push(ConfigError::UnknownKey {
                file: file.to_owned(),
                key: key.clone(),
                nearest: nearest(key),
            });
            continue;
        };
        match texts(setting.kind(), value) {
            Some(texts) => {
                settings.insert(setting, texts);
            }
            None => problems.push(ConfigError::WrongType {
                file: file.to_owned(),
                setting,
                why: setting.kind().expected(),
            }),
        }
    }
    settings
}

/// The value as the texts that a flag would have; `None` if it is of the wrong type.
fn texts(kind: Kind, value: &Value) -> Option<Vec<String>> {
    match (kind, value) {
        (Kind::Text | Kind::List | Kind::Number | Kind::TextOrNumber, Value::String(text)) => {
            Some(vec![text.clone()])
        }
        (Kind::Number | Kind::TextOrNumber, Value::Integer(number)) => {
            Some(vec![number.to_string()])
        }
        (Kind::Switch, Value::Boolean(on)) => Some(vec![on.to_string()]),
        (Kind::List, Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        }
        (
            _,
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_),
        ) => None,
    }
}

/// The setting that a mistyped key most likely means, if any is near enough to be meant.
fn nearest(key: &str) -> Option<Setting> {
    let key = key.to_lowercase().replace('_', "-");
    Setting::ALL
        .into_iter()
        .map(|setting| (strsim::damerau_levenshtein(&key, setting.key()), setting))
        .min()
        .filter(|(distance, setting)| distance * 3 <= setting.key().len().max(key.len()))
        .map(|(_, setting)| setting)
}

/// One line out of the parser's several.
fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    format!("line {line}: {message}")
}
