//! Settings in the environment: every key of the file as `MCP_PROXY_` and its name in capitals.
//!
//! There is no list of them: their names are those of the fields of [`File`], and a value is read as
//! its field is. A variable lies over the file, and a flag over both.

use std::{
    collections::BTreeMap,
    env, iter,
    path::{Path, PathBuf},
};

use mcp_layer::secret::Doubtful;
use serde::{Deserialize, de::value::MapDeserializer};
use toml::{Table, de::Error};

use crate::{
    config::{Config, Invalid},
    file::{self, File},
    reload::Written,
    setting::{self, Setting},
};

/// What the names of all variables begin with.
const PREFIX: &str = "MCP_PROXY_";
/// The variable with the path of the file, and the one with a whole file.
const CONFIG: &str = "config";
const CONFIG_TOML: &str = "config_toml";
/// Flags that add an item to a list, which has a name of its own in the file.
const ITEMS: [(&str, &str); 2] = [
    ("allow_origin", "allow_origins"),
    ("trusted_proxy", "trusted_proxies"),
];
/// Keys that say the same in two ways: a variable for either replaces both of the file.
const TOGETHER: [[&str; 2]; 3] = [
    ["upstream_key_env", "upstream_key_file"],
    ["database", "database_file"],
    ["admin_token_env", "admin_token_file"],
];
/// The key that says something where it is empty: that the upstream needs no key.
const EMPTY: &str = "upstream_key_env";
/// What the registry reads, and follows: these are in a file, or in the variable with a whole one.
const DECLARED: [&str; 3] = ["servers", "models", "defaults"];

/// The variables of this process, by the keys that they are for.
pub struct Environment(BTreeMap<String, String>);

/// The place where servers are declared.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: the demo's server is the only one.
    Demo,
    /// A file, which is followed.
    File(PathBuf),
    /// A variable.
    Text(String),
}

impl Source {
    /// Notes what is written there; nothing where it cannot be read.
    pub fn written(&self) -> Written {
        match self {
            Self::Demo => Written::default(),
            Self::File(path) => {
                file::text(path).map_or_else(|_| Written::default(), |text| Written::of(&text))
            }
            Self::Text(text) => Written::of(text),
        }
    }
}

impl Environment {
    /// Reads the variables; an empty one is as if it were not set.
    pub fn read() -> Result<Self, Invalid> {
        let mut variables = BTreeMap::new();
        for (name, value) in env::vars_os() {
            let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            let key = key.to_lowercase();
            let Ok(value) = value.into_string() else {
                let name = named(&key);
                return Err(Invalid::new(format!("{name}: the value is not UTF-8")));
            };
            if !value.trim().is_empty() || key == EMPTY {
                variables.insert(key, value);
            }
        }
        Ok(Self(variables))
    }

    /// Chooses the place where servers are declared: that of the flag, if it is given.
    pub fn source(&self, flag: Option<PathBuf>) -> Result<Source, Invalid> {
        match (flag, self.0.get(CONFIG), self.0.get(CONFIG_TOML)) {
            (Some(path), ..) => Ok(Source::File(path)),
            (None, Some(path), None) => Ok(Source::File(path.into())),
            (None, None, Some(text)) => Ok(Source::Text(text.clone())),
            (None, None, None) => Ok(Source::Demo),
            (None, Some(_), Some(_)) => Err(Invalid::new(format!(
                "{} and {}: give only one",
                named(CONFIG),
                named(CONFIG_TOML)
            ))),
        }
    }

    /// Reads a file with the variables over it.
    pub fn over(&self, source: &Source) -> Result<File, Invalid> {
        let (whence, text) = match source {
            Source::Demo => (String::new(), String::new()),
            Source::File(path) => (format!("{}: ", path.display()), file::text(path)?),
            Source::Text(text) => (format!("{}: ", named(CONFIG_TOML)), text.clone()),
        };
        let invalid = |reason: String| Invalid::new(format!("{whence}{reason}"));
        // By itself: its faults have their lines.
        let file = File::parse(&text).map_err(invalid)?;
        let given = self.settings()?;
        if given.is_empty() {
            return Ok(file);
        }
        let mut settings: Vec<(String, Setting)> = Vec::new();
        let table: Table = text.parse().map_err(|_| invalid("not TOML".into()))?;
        for (key, value) in table {
            let pair = TOGETHER.iter().find(|pair| pair.contains(&&*key));
            let is_replaced = match pair {
                Some(pair) => pair.iter().any(|key| given.contains_key(*key)),
                None => given.contains_key(&*key),
            };
            if !is_replaced {
                settings.push((key, Setting::Toml(value)));
            }
        }
        for (key, text) in given {
            settings.push((key.to_owned(), Setting::Text(text.to_owned())));
        }
        let read = File::deserialize(MapDeserializer::<_, Error>::new(settings.into_iter()));
        read.map_err(|error| invalid(file::without_value(error.message())))
    }

    /// The variables that are for keys of the file, each by its key and checked by itself, so that its
    /// fault has its name.
    fn settings(&self) -> Result<BTreeMap<&str, &str>, Invalid> {
        let mut settings = BTreeMap::new();
        for (key, text) in &self.0 {
            let name = named(key);
            let invalid = |reason: &str| Invalid::new(format!("{name}: {reason}"));
            if DECLARED.contains(&&**key) {
                let whole = named(CONFIG_TOML);
                return Err(invalid(&format!("declare {key} in a file, or in {whole}")));
            }
            let key = listed(key);
            if !keys().contains(&key) {
                continue;
            }
            let alone = iter::once((key, Setting::Text(text.clone())));
            File::deserialize(MapDeserializer::<_, Error>::new(alone))
                .map_err(|error| invalid(&file::without_value(error.message())))?;
            if settings.insert(key, &**text).is_some() {
                return Err(invalid("another variable says the same; give only one"));
            }
        }
        Ok(settings)
    }

    /// The names of variables that are no settings: misspelt, or injected by a platform, as Kubernetes
    /// does for services whose names begin likewise.
    pub fn unknown(&self) -> Vec<String> {
        let is_known =
            |key: &str| [CONFIG, CONFIG_TOML].contains(&key) || keys().contains(&listed(key));
        let unknown = self.0.keys().filter(|key| !is_known(key));
        unknown.map(|key| named(key)).collect()
    }
}

/// Reads a file with the variables over it, for those who follow it.
pub fn again(path: &Path) -> Result<File, Invalid> {
    Environment::read()?.over(&Source::File(path.to_owned()))
}

/// Says once which variables look like settings and are none.
pub fn tell(config: &Config) {
    if config.unknown.is_empty() {
        return;
    }
    // A platform may inject many.
    let more = config.unknown.len().saturating_sub(SHOWN);
    let shown = config.unknown.iter().take(SHOWN);
    let variables: Vec<_> = shown.map(|name| Doubtful(name).to_string()).collect();
    let variables = variables.join(", ");
    match config.check {
        // The report has no log beside it.
        true => eprintln!("warning: no settings: {variables}, and {more} more"),
        false => tracing::warn!(
            variables,
            more,
            "these environment variables are no settings, and are ignored"
        ),
    }
}

/// The most unknown variables that are named.
const SHOWN: usize = 10;

/// The variable for a key.
fn named(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase())
}

/// The key of the list that a flag adds to; any other key as it is.
fn listed(key: &str) -> &str {
    let item = ITEMS.iter().find(|(item, _)| *item == key);
    item.map_or(key, |(_, list)| list)
}

/// All keys of the file.
fn keys() -> &'static [&'static str] {
    setting::fields::<File>()
}
