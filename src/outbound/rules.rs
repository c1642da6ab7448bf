//! Egress rules: exceptions from "public addresses over https only".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::Host;

use super::Error;
use super::address::{Place, place};

/// Rules for private or plain http hosts that calls out may reach.
///
/// The default has no rules: only public addresses, only https. A rule is one of
///
/// | rule | allows |
/// |---|---|
/// | `10.1.2.0/24`, `10.1.2.3`, `fd00::/8`, `::1` | these addresses, on every port, whatever name leads there |
/// | `mcp.internal` | this name on every port, whatever it resolves to |
/// | `mcp.internal:8443`, `10.1.2.3:8443` | URLs with just this host and port |
///
/// A rule that covers `127.0.0.1` covers `::1` too, because `localhost` is usually both.
///
/// # Security
///
/// The metadata services of the clouds (such as `169.254.169.254`) are reached only through a
/// rule that names exactly that address, never through a wider block or through a name.
///
/// ```
/// use mcp_layer::outbound::EgressRules;
///
/// let rules = EgressRules::parse(["127.0.0.0/8", "mcp.internal:8443"])?;
/// assert!(EgressRules::parse(["10.0.0.0/33"]).is_err());
/// # Ok::<(), mcp_layer::outbound::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct EgressRules {
    nets: Vec<IpNet>,
    hosts: Vec<(Host, Option<u16>)>,
}

impl EgressRules {
    /// Parses a list of rules.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] with the first rule that cannot be read.
    pub fn parse<I>(rules: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        rules
            .into_iter()
            .try_fold(Self::default(), |all, rule| all.allow(rule.as_ref()))
    }

    /// Adds one rule.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] if the rule cannot be read.
    pub fn allow(mut self, rule: &str) -> Result<Self, Error> {
        if let Ok(net) = rule.parse::<IpNet>() {
            self.nets.push(net);
        } else if let Ok(ip) = rule.parse::<IpAddr>() {
            self.nets.push(ip.to_canonical().into());
        } else {
            self.hosts
                .push(host_and_port(rule).ok_or_else(|| Error::Rule {
                    rule: rule.to_owned(),
                })?);
        }
        Ok(self)
    }

    /// Returns true if a rule names this host of a URL.
    pub(super) fn name(&self, host: &Host<&str>, port: u16) -> bool {
        let host = without_final_dot(host);
        self.hosts
            .iter()
            .any(|(h, p)| same_host(h, &host) && p.is_none_or(|p| p == port))
    }

    /// Returns true if a rule allows this address, public or not.
    pub(super) fn cover(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if place(ip) == Place::Metadata {
            return self.nets.contains(&ip.into());
        }
        let covered = |ip: IpAddr| self.nets.iter().any(|net| net.contains(&ip));
        covered(ip) || (ip == Ipv6Addr::LOCALHOST && covered(Ipv4Addr::LOCALHOST.into()))
    }

    /// Returns true if any rule covers addresses; otherwise plain http names need no lookup.
    pub(super) fn cover_any(&self) -> bool {
        !self.nets.is_empty()
    }
}

fn host_and_port(rule: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = match rule.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok().filter(|&p| p != 0)?)),
        None => (rule, None),
    };
    let host = Host::parse(host.strip_suffix('.').unwrap_or(host)).ok()?;
    Some((host, port))
}

/// Removes a final dot: `localhost.` and `localhost` are one name to a resolver.
fn without_final_dot<'a>(host: &Host<&'a str>) -> Host<&'a str> {
    match *host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name)),
        Host::Ipv4(ip) => Host::Ipv4(ip),
        Host::Ipv6(ip) => Host::Ipv6(ip),
    }
}

fn same_host(a: &Host, b: &Host<&str>) -> bool {
    match (a, b) {
        (Host::Domain(a), Host::Domain(b)) => a == b,
        (Host::Ipv4(a), Host::Ipv4(b)) => a == b,
        (Host::Ipv6(a), Host::Ipv6(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[&str]) -> EgressRules {
        EgressRules::parse(list).expect("rules")
    }

    fn covers(rules: &EgressRules, ip: &str) -> bool {
        rules.cover(ip.parse().expect("an address"))
    }

    #[test]
    fn a_block_covers_its_addresses_in_every_notation() {
        let rules = rules(&["10.1.0.0/16", "fd00::/8"]);
        assert!(covers(&rules, "10.1.2.3"));
        assert!(covers(&rules, "::ffff:10.1.2.3"));
        assert!(covers(&rules, "fd12::1"));
        assert!(!covers(&rules, "10.2.0.1"));
    }

    #[test]
    fn loopback_is_one_place() {
        let rules = rules(&["127.0.0.0/8"]);
        assert!(covers(&rules, "127.0.0.1"));
        assert!(covers(&rules, "::1"));
        assert!(!covers(&rules, "::2"));
    }

    #[test]
    fn metadata_services_need_a_rule_of_their_own() {
        let wide = rules(&["0.0.0.0/0", "169.254.0.0/16", "::/0", "fd00::/8"]);
        assert!(!covers(&wide, "169.254.169.254"));
        assert!(!covers(&wide, "::ffff:169.254.169.254"));
        assert!(!covers(&wide, "64:ff9b::a9fe:a9fe"));
        assert!(!covers(&wide, "fd00:ec2::254"));
        assert!(covers(&wide, "169.254.1.1"));
        assert!(covers(&rules(&["169.254.169.254"]), "169.254.169.254"));
        assert!(covers(&rules(&["169.254.169.254/32"]), "169.254.169.254"));
        assert!(covers(&rules(&["fd00:ec2::254"]), "fd00:ec2::254"));
    }

    #[test]
    fn a_name_is_matched_exactly_with_its_port_if_given() {
        let rules = rules(&["MCP.internal:8443", "other.internal", "[::1]:9000"]);
        assert!(rules.name(&Host::Domain("mcp.internal"), 8443));
        assert!(rules.name(&Host::Domain("mcp.internal."), 8443));
        assert!(!rules.name(&Host::Domain("mcp.internal"), 443));
        assert!(!rules.name(&Host::Domain("x.mcp.internal"), 8443));
        assert!(rules.name(&Host::Domain("other.internal"), 1));
        assert!(rules.name(&Host::Ipv6(Ipv6Addr::LOCALHOST), 9000));
        assert!(!rules.name(&Host::Ipv6(Ipv6Addr::LOCALHOST), 9001));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for rule in [
            "",
            "10.0.0.0/33",
            "a b",
            "host:0",
            "host:99999",
            "http://x",
            ":1",
        ] {
            assert!(EgressRules::parse([rule]).is_err(), "{rule:?}");
        }
    }
}
