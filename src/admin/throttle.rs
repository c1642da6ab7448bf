//! The count of wrong tokens and keys, by address.
//!
//! It counts who is wrong, not who asks: otherwise ten wrong tokens would lock the operator out.
//! All that it protects is the log; tokens are too long to be guessed.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// The period in which wrong attempts are counted: a person may mistype a token, and a program may
/// have an old one, but neither goes on for long.
const WITHIN: Duration = Duration::from_secs(60);
/// The most networks counted at once, some hundred bytes each; any others are counted as one.
const NETWORKS: usize = 4096;

/// The client address of a request: an extension that the accepting server adds to the request.
/// Behind a reverse proxy, use the client's address, not the proxy's.
///
/// [`router`](super::router) counts wrong tokens by it; requests without one are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// Counts wrong tokens or keys by client address; IPv6 addresses by `/64`, the network of one
/// customer. Clones count together.
///
/// Only wrong attempts are counted: the right token is accepted at once, even from an address that
/// has been guessing. Secrets of 16 or more random characters cannot be guessed in any case; the
/// count keeps logs short and discourages attempts.
///
/// ```
/// use mcp_layer::admin::{ClientAddress, Throttle, Wrong};
/// use std::time::{Duration, SystemTime};
///
/// let (throttle, now) = (Throttle::default(), SystemTime::now());
/// let guesser = Some(ClientAddress([192, 0, 2, 1].into()));
/// let wait = Duration::from_secs(60);
/// assert_eq!(throttle.wrong(guesser, now), Wrong { times: 1, wait });
/// assert_eq!(throttle.wrong(guesser, now), Wrong { times: 2, wait });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Throttle(Arc<Mutex<Table>>);

/// The wrong attempts of one address within a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The number of this attempt: the first is worth a line in a log, the thousandth is not.
    pub times: u32,
    /// The time until the minute is over, and the count starts again.
    pub wait: Duration,
}

#[derive(Debug, Default)]
struct Table {
    minutes: HashMap<Network, Minute>,
    swept: Option<SystemTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(Ipv4Addr),
    V6([u16; 4]),
    /// No address is known, or too many are.
    Others,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    began: SystemTime,
    wrong: u32,
}

impl Throttle {
    /// Counts a wrong attempt from this address at `now`, and returns how many there were within a
    /// minute.
    pub fn wrong(&self, from: Option<ClientAddress>, now: SystemTime) -> Wrong {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = table.place(from.map_or(Network::Others, Network::of), now);
        let minute = table.minutes.entry(network).or_insert(Minute {
            began: now,
            wrong: 0,
        });
        let wait = minute.left(now).unwrap_or_else(|| {
            *minute = Minute {
                began: now,
                wrong: 0,
            };
            WITHIN
        });
        minute.wrong = minute.wrong.saturating_add(1);
        Wrong {
            times: minute.wrong,
            wait,
        }
    }

    /// Takes back an attempt that turned out not to be wrong.
    pub(super) fn forgive(&self, from: Option<ClientAddress>, now: SystemTime) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = table.place(from.map_or(Network::Others, Network::of), now);
        if let Some(minute) = table.minutes.get_mut(&network) {
            minute.wrong = minute.wrong.saturating_sub(1);
        }
    }
}

impl Table {
    /// The entry that counts for this network.
    fn place(&mut self, network: Network, now: SystemTime) -> Network {
        if self.minutes.contains_key(&network) || self.minutes.len() < NETWORKS {
            return network;
        }
        // At most once a second: it looks at all of them.
        let swept = self.swept.and_then(|swept| now.duration_since(swept).ok());
        if swept.is_none_or(|passed| passed >= Duration::from_secs(1)) {
            self.minutes.retain(|_, minute| minute.left(now).is_some());
            self.swept = Some(now);
        }
        match self.minutes.len() < NETWORKS {
            true => network,
            false => Network::Others,
        }
    }
}

impl Minute {
    /// The time that is left of it; a clock that was set back ends it, too.
    fn left(&self, now: SystemTime) -> Option<Duration> {
        let passed = now.duration_since(self.began).ok()?;
        WITHIN.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

impl Network {
    fn of(ClientAddress(address): ClientAddress) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn from(address: &str) -> Option<ClientAddress> {
        Some(ClientAddress(address.parse().unwrap()))
    }

    #[test]
    fn a_minute_ends_and_the_next_one_begins_anew() {
        let throttle = Throttle::default();
        let wrong = |seconds| {
            let wrong = throttle.wrong(from("192.0.2.1"), at(seconds));
            (wrong.times, wrong.wait.as_secs())
        };
        assert_eq!(wrong(0), (1, 60));
        assert_eq!(wrong(20), (2, 40));
        assert_eq!(wrong(60), (1, 60));
        assert_eq!(wrong(61), (2, 59));
        // The clock was set back.
        assert_eq!(wrong(0), (1, 60));
    }

    #[test]
    fn addresses_are_counted_apart_and_ipv6_by_64_bits() {
        let throttle = Throttle::default();
        let times = |address: &str| throttle.wrong(from(address), at(0)).times;
        assert_eq!(times("192.0.2.1"), 1);
        assert_eq!(times("::ffff:192.0.2.1"), 2);
        assert_eq!(times("192.0.2.2"), 1);
        assert_eq!(times("2001:db8:0:1::1"), 1);
        assert_eq!(times("2001:db8:0:1:ffff::2"), 2);
        assert_eq!(times("2001:db8:0:2::1"), 1);
        assert_eq!(throttle.wrong(None, at(0)).times, 1);
    }

    #[test]
    fn many_addresses_take_no_more_room_than_some_thousand_and_count_as_one() {
        let throttle = Throttle::default();
        let mut firsts = 0;
        for number in 0..100_000_u32 {
            let address = ClientAddress(Ipv4Addr::from(number).into());
            firsts += u32::from(throttle.wrong(Some(address), at(0)).times == 1);
        }
        let known = || throttle.0.lock().unwrap().minutes.len();
        assert_eq!((known(), firsts as usize), (NETWORKS + 1, NETWORKS + 1));
        // When their minute is over, there is room again.
        assert_eq!(throttle.wrong(from("192.0.2.1"), at(60)).times, 1);
        assert_eq!(known(), 1);
    }
}
