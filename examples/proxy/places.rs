//! Places for connections, limited in total and for each address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderMap;
use ipnet::IpNet;
use tokio::sync::Notify;

use crate::{config::Invalid, forwarded};

/// The addresses of load balancers, each with many callers behind it: no share limits them.
#[derive(Clone)]
pub struct Trusted(Arc<[IpNet]>);

impl Trusted {
    pub fn new(blocks: &[String]) -> Result<Self, Invalid> {
        let block = |text: &String| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| text.parse()).ok()
        };
        let blocks = blocks.iter().enumerate().map(|(at, text)| {
            block(text).ok_or_else(|| {
                Invalid::new(format!(
                    "trusted_proxies[{at}]: not an address or a block such as 10.0.0.0/8"
                ))
            })
        });
        blocks.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the address of a request's caller, of which only these are believed what they tell.
    pub fn caller(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        forwarded::client(headers, peer, |address| self.contain(address))
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(&address))
    }
}

/// A number of places for connections. Clones share them.
#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    all: usize,
    of_one: usize,
    trusted: Trusted,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_site: HashMap<IpAddr, usize>,
}

/// A connection's place, free again when dropped.
pub struct Place {
    places: Arc<Shared>,
    site: Option<IpAddr>,
}

/// The reason why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    All,
    /// The address has used up its share.
    Share,
}

impl Places {
    /// Creates `all` places, of which one address gets at most `of_one`.
    pub fn new(all: usize, of_one: usize, trusted: Trusted) -> Self {
        Self(Arc::new(Shared {
            all,
            of_one,
            trusted,
            taken: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    pub fn take(&self, peer: IpAddr) -> Result<Place, Full> {
        let address = peer.to_canonical();
        let site = (!self.0.trusted.contain(address)).then(|| site(address));
        let mut taken = self.0.taken();
        let own = site.and_then(|site| taken.by_site.get(&site));
        // The share first: an address that has used it up does not learn how busy the proxy is.
        if own.is_some_and(|own| *own >= self.0.of_one) {
            return Err(Full::Share);
        }
        if taken.all >= self.0.all {
            return Err(Full::All);
        }
        taken.all += 1;
        if let Some(site) = site {
            *taken.by_site.entry(site).or_default() += 1;
        }
        let places = Arc::clone(&self.0);
        Ok(Place { places, site })
    }

    /// Returns when all places are free.
    pub async fn all_free(&self) {
        loop {
            let freed = self.0.freed.notified();
            if self.0.taken().all == 0 {
                return;
            }
            freed.await;
        }
    }
}

/// Returns the address range of one caller: an IPv4 address, or the /64 that providers assign for
/// IPv6.
fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(site) = self.site
            && let Some(own) = taken.by_site.get_mut(&site)
        {
            *own -= 1;
            if *own == 0 {
                taken.by_site.remove(&site);
            }
        }
        if taken.all == 0 {
            self.places.freed.notify_waiters();
        }
    }
}
