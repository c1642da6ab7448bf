//! `[[guards]]`: what sees calls before they run, and results before models do.

use std::{path::PathBuf, time::Duration};

use mcp_layer::{
    guard::{Destructive, Fail, GuardRule, Hosts, Secrets, TIMEOUT, Webhook},
    outbound::Outbound,
    secret::SecretString,
    trace::GuardStage,
};
use serde::Deserialize;
use url::Url;

use crate::{config::Invalid, secrets::Named};

/// The longest time for a question, in milliseconds: a turn waits for it.
const LONGEST: u64 = 60_000;

/// The most characters of a name, which stands in every line of the log and is a label of metrics.
const NAME: usize = 100;

/// A guard as it is declared: a webhook by its `url`, or one that is built in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[guards]]")]
pub struct Declared {
    name: Option<String>,
    url: Option<String>,
    builtin: Option<BuiltIn>,
    tools: Option<Vec<String>>,
    before: Option<bool>,
    after: Option<bool>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    fail: FailMode,
    secret_env: Option<String>,
    secret_file: Option<PathBuf>,
    action: Option<Action>,
    hosts: Option<Vec<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BuiltIn {
    Secrets,
    Hosts,
    Destructive,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FailMode {
    #[default]
    Closed,
    Open,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Deny,
    Mask,
}

/// A guard whose table is checked as far as possible without the egress rules.
pub struct Guard {
    name: String,
    kind: Kind,
    tools: Vec<String>,
    before: bool,
    after: bool,
    timeout: Duration,
    fail: Fail,
}

enum Kind {
    Webhook(Url, Option<SecretString>),
    Secrets(Action),
    Hosts(Hosts),
    Destructive,
}

/// Reads all tables, in their order.
pub fn read(tables: Vec<Declared>) -> Result<Vec<Guard>, Invalid> {
    let mut guards: Vec<Guard> = Vec::with_capacity(tables.len());
    for (number, table) in (1..).zip(tables) {
        let guard = table.read(number).and_then(|guard| {
            match guards.iter().position(|other| other.name == guard.name) {
                Some(place) => Err(format!(
                    "has the name {:?}, as number {} has: give each its own",
                    guard.name,
                    place + 1
                )),
                None => Ok(guard),
            }
        });
        guards
            .push(guard.map_err(|fault| Invalid::new(format!("guards: number {number} {fault}")))?);
    }
    Ok(guards)
}

impl Declared {
    fn read(self, number: usize) -> Result<Guard, String> {
        let secret = Named {
            variable: self.secret_env,
            file: self.secret_file,
        };
        let only = |is_given: bool, key: &str, of: &str| match is_given {
            true => Err(format!("has {key}, which only {of} has")),
            false => Ok(()),
        };
        let is_webhook = self.url.is_some();
        only(
            !is_webhook && !secret.is_absent(),
            "secret_env",
            "a webhook",
        )?;
        let secrets = matches!(self.builtin, Some(BuiltIn::Secrets));
        only(
            !secrets && self.action.is_some(),
            "action",
            "builtin = \"secrets\"",
        )?;
        let hosts = matches!(self.builtin, Some(BuiltIn::Hosts));
        only(
            !hosts && self.hosts.is_some(),
            "hosts",
            "builtin = \"hosts\"",
        )?;
        // The stages of each by default, and whether it is for results at all.
        let (kind, word, after, has_after) = match (self.url, self.builtin) {
            (Some(url), None) => {
                let secret = secret
                    .read("secret")
                    .map_err(|fault| format!("has a {fault}"))?;
                let url = url
                    .parse()
                    .map_err(|_| "has a url that is none".to_owned())?;
                (Kind::Webhook(url, secret), "webhook", false, true)
            }
            (None, Some(BuiltIn::Secrets)) => {
                let action = self.action.unwrap_or(Action::Deny);
                (Kind::Secrets(action), "secrets", true, true)
            }
            (None, Some(BuiltIn::Hosts)) => {
                let listed = self
                    .hosts
                    .ok_or("needs hosts: those that URLs may have, or [] for none")?;
                let hosts = Hosts::new(&listed).map_err(|_| {
                    "has a host that is none: write api.example.com, *.example.com or 127.0.0.1:8080"
                })?;
                (Kind::Hosts(hosts), "hosts", false, false)
            }
            (None, Some(BuiltIn::Destructive)) => (Kind::Destructive, "destructive", false, false),
            (Some(_), Some(_)) => return Err("has both url and builtin: give only one".into()),
            (None, None) => {
                return Err(
                    "needs a url, or builtin = \"secrets\", \"hosts\" or \"destructive\"".into(),
                );
            }
        };
        let (before, after) = (self.before.unwrap_or(true), self.after.unwrap_or(after));
        if after && !has_after {
            return Err("has after = true, but looks at no results".into());
        }
        if !before && !after {
            return Err("is asked neither before nor after".into());
        }
        if self.name.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(format!(
                "has a name that is empty, longer than {NAME} characters, or has control characters"
            ));
        }
        let tools = self.tools.unwrap_or_else(|| vec!["*".to_owned()]);
        if tools.is_empty() || tools.contains(&String::new()) {
            return Err("has no tools, or one without a name".into());
        }
        let timeout = match self.timeout_ms {
            None => TIMEOUT,
            Some(ms @ 1..=LONGEST) => Duration::from_millis(ms),
            Some(_) => return Err(format!("has a timeout_ms that is not from 1 to {LONGEST}")),
        };
        Ok(Guard {
            name: self.name.unwrap_or_else(|| format!("{word}-{number}")),
            kind,
            tools,
            before,
            after,
            timeout,
            fail: match self.fail {
                FailMode::Closed => Fail::Closed,
                FailMode::Open => Fail::Open,
            },
        })
    }
}

/// The rules of all guards; webhooks are called through `outbound`.
pub fn rules(guards: &[Guard], outbound: &Outbound) -> Result<Vec<GuardRule>, Invalid> {
    guards.iter().map(|guard| guard.rule(outbound)).collect()
}

impl Guard {
    fn rule(&self, outbound: &Outbound) -> Result<GuardRule, Invalid> {
        let name = self.name.clone();
        let rule = match &self.kind {
            Kind::Webhook(url, secret) => {
                let webhook = Webhook::new(url.clone(), outbound.clone());
                let webhook =
                    webhook.map_err(|error| Invalid::new(format!("guards: {name}: {error}")))?;
                let webhook = match secret {
                    Some(secret) => webhook.with_secret(secret.clone()),
                    None => webhook,
                };
                GuardRule::new(name, webhook)
            }
            Kind::Secrets(Action::Deny) => GuardRule::new(name, Secrets::deny()),
            Kind::Secrets(Action::Mask) => GuardRule::new(name, Secrets::mask()),
            Kind::Hosts(hosts) => GuardRule::new(name, hosts.clone()),
            Kind::Destructive => GuardRule::new(name, Destructive),
        };
        Ok(rule
            .with_tools(self.tools.clone())
            .with_stages(self.stages())
            .with_timeout(self.timeout)
            .with_fail(self.fail))
    }

    fn stages(&self) -> impl Iterator<Item = GuardStage> {
        let before = self.before.then_some(GuardStage::Before);
        before
            .into_iter()
            .chain(self.after.then_some(GuardStage::After))
    }
}

fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= NAME && !name.chars().any(char::is_control)
}

/// Tells an operator of the guards, a line for each, and one for each pattern that fits none of the
/// `offered` names; `rules` are those of the guards.
pub fn told(guards: &[Guard], rules: &[GuardRule], offered: &[String]) -> String {
    if guards.is_empty() {
        return "guards: none".to_owned();
    }
    let lines = guards.iter().zip(rules).map(|(guard, rule)| {
        let stages: Vec<_> = guard.stages().map(GuardStage::as_str).collect();
        let fail = match guard.fail {
            Fail::Closed => "closed",
            Fail::Open => "open",
        };
        let mut lines = format!(
            "guard {}: {}, {}, within {} ms, fails {fail}",
            guard.name,
            stages.join(" and "),
            guard.tools.join(" "),
            guard.timeout.as_millis()
        );
        for tools in rule
            .unmatched(offered)
            .iter()
            .filter(|tools| **tools != "*")
        {
            lines += &format!(
                "\nguard {}: no tool above has a name like {tools}",
                guard.name
            );
        }
        lines
    });
    lines.collect::<Vec<_>>().join("\n")
}
