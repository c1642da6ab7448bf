//! The tools of one request: offered name to server and tool.

use std::sync::Arc;

use bytes::Bytes;

pub(crate) use crate::offer::Entry;
use crate::{
    chat::Arguments,
    left_out::LeftOut,
    name::ServerName,
    offer::Offered,
    registry::Server,
    settings::NativeToolSearch,
    tool_search::{self, DEFINITIONS, SearchTool},
};

/// The tools that a request is offered.
///
/// A model's call is routed by this map and nothing else. No name is ever taken apart, so neither a
/// tool called `b__c` nor a name that the model makes up leads anywhere else.
///
/// All that concerns single tools was made before, once for each server's record and list; a
/// catalog is only the list of these parts.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    /// In the order of the request.
    servers: Vec<Arc<Offered>>,
    told: Told,
}

/// How a model learns of the tools. Whatever it is told, it can call all of them.
#[derive(Clone, Debug, Default)]
enum Told {
    /// It is offered each.
    #[default]
    Each,
    /// It searches for them, but for those that are always offered, and these.
    BySearch(Vec<String>),
    /// Its service searches for them, but for the same.
    ByService(NativeToolSearch, Vec<String>),
}

/// The owner of a call of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// Ours: a tool of the catalog.
    Ours(&'a Entry),
    /// Ours: a search among the tools of the catalog, which asks no server.
    Search(Search<'a>),
    /// The caller's: a tool that it sent, or a call of a type that only it can know.
    Caller,
    /// A name that the model has made up, and that belongs to no one.
    Unknown,
}

/// One of the tools that find others, with the catalog that it searches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search<'a> {
    tool: SearchTool,
    catalog: &'a Catalog,
}

impl<'a> Owner<'a> {
    /// The tool of a server that is called, if it is ours.
    pub(crate) fn entry(self) -> Option<&'a Entry> {
        match self {
            Self::Ours(entry) => Some(entry),
            Self::Search(_) | Self::Caller | Self::Unknown => None,
        }
    }

    /// Returns `true` if tools are searched for, and none of a server's is called.
    pub(crate) fn is_search(self) -> bool {
        matches!(self, Self::Search(_))
    }
}

impl Search<'_> {
    /// The name of the tool.
    pub(crate) fn name(self) -> &'static str {
        self.tool.name()
    }

    /// Answers a call with these arguments.
    ///
    /// # Errors
    /// The fault, in words that let a model repair its call.
    pub(crate) async fn answer(self, arguments: &Arguments) -> Result<String, String> {
        tool_search::answer(self.tool, arguments, &self.catalog.servers).await
    }
}

impl Catalog {
    /// The tools of these servers, each of which is there once.
    pub(crate) fn new(servers: Vec<Arc<Offered>>) -> Self {
        let told = Told::default();
        Self { servers, told }
    }

    /// The same, whose tools the model searches for; `named` are offered beside those that always
    /// are.
    pub(crate) fn searched(mut self, named: Vec<String>) -> Self {
        self.told = Told::BySearch(self.more(named));
        self
    }

    /// The same, whose tools the model's service searches for.
    pub(crate) fn searched_by(mut self, service: NativeToolSearch, named: Vec<String>) -> Self {
        self.told = Told::ByService(service, self.more(named));
        self
    }

    /// Those of these names that are of tools, and not of any that are always offered.
    fn more(&self, names: Vec<String>) -> Vec<String> {
        let is_more = |name: &String| self.entry(name).is_some_and(|entry| !entry.is_always);
        let mut names: Vec<_> = names.into_iter().filter(is_more).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns `true` if the model searches for the tools.
    pub(crate) fn is_searched(&self) -> bool {
        matches!(self.told, Told::BySearch(_))
    }

    /// Returns `true` if the model, or its service, finds this tool only by a search.
    #[cfg(feature = "admin")]
    pub(crate) fn is_found(&self, entry: &Entry) -> bool {
        match &self.told {
            Told::Each => false,
            Told::BySearch(named) | Told::ByService(_, named) => {
                !entry.is_always && !named.contains(&entry.offer().name)
            }
        }
    }

    /// The tool of this name that finds others, if the model has it.
    pub(crate) fn search(&self, name: &str) -> Option<Search<'_>> {
        let tool = SearchTool::named(name).filter(|_| self.is_searched())?;
        Some(Search {
            tool,
            catalog: self,
        })
    }

    /// The number of tools that a request has of ours.
    pub(crate) fn offered(&self) -> usize {
        match &self.told {
            Told::Each => self.len(),
            Told::BySearch(named) => {
                let always = self.servers.iter().map(|offered| offered.always().1);
                always.sum::<usize>() + named.len() + SearchTool::ALL.len()
            }
            // Its limit is for those that a model is given at once.
            Told::ByService(..) => 0,
        }
    }

    /// The number of all tools.
    pub(crate) fn len(&self) -> usize {
        self.counts().map(|(_, count)| count).sum()
    }

    /// Keeps only the tools with these offered names.
    ///
    /// # Errors
    /// The index of the first name that none of them has.
    pub(crate) fn only(&self, names: &[String]) -> Result<Self, usize> {
        let mut places = vec![Vec::new(); self.servers.len()];
        for (index, name) in names.iter().enumerate() {
            let mut servers = self.servers.iter().zip(&mut places);
            let found = servers.find_map(|(offered, of)| Some((of, offered.place(name)?)));
            let (of, place) = found.ok_or(index)?;
            of.push(place);
        }
        let servers = self.servers.iter().zip(places);
        let only = servers.map(|(offered, places)| offered.only(places));
        Ok(Self::new(only.collect()))
    }

    /// The selected tools that the servers would offer too, if somebody accepted them.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = (&ServerName, &LeftOut)> {
        let servers = self.servers.iter();
        servers.flat_map(|offered| {
            let withheld = offered.withheld().iter();
            withheld.map(|tool| (&offered.server().name, tool))
        })
    }

    /// The tools from whose texts something was removed, in the order of their names.
    pub(crate) fn cleaned(&self) -> impl Iterator<Item = &Entry> {
        self.by_name().flat_map(Offered::cleaned)
    }

    /// The tool that is offered as `name`.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        let mut servers = self.servers.iter();
        servers.find_map(|offered| offered.entry(name))
    }

    /// The tools, in the order of their names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.by_name().flat_map(Offered::entries)
    }

    /// Returns `true` if there is no tool.
    pub(crate) fn is_empty(&self) -> bool {
        self.servers
            .iter()
            .all(|offered| offered.entries().is_empty())
    }

    /// The number of tools of each server.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&ServerName, usize)> {
        let servers = self.servers.iter();
        servers.map(|offered| (&offered.server().name, offered.entries().len()))
    }

    /// The records of the servers.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().map(|offered| offered.server())
    }

    /// The elements for a request's `tools`, in the order of the tools' names: some, with commas
    /// between them, in each piece. What finds others comes last.
    pub(crate) fn definitions(&self) -> Vec<Bytes> {
        let mut pieces: Vec<Bytes> = match &self.told {
            Told::Each => self.by_name().map(|of| of.definitions().clone()).collect(),
            Told::BySearch(_) => self.by_name().map(|of| of.always().0.clone()).collect(),
            Told::ByService(_, named) => self.by_name().map(|of| of.deferred(named)).collect(),
        };
        match &self.told {
            Told::Each => {}
            Told::BySearch(named) => {
                let named = named.iter().filter_map(|name| self.entry(name));
                pieces.extend(named.map(|entry| entry.offer().definition.clone()));
                pieces.push(Bytes::from_static(DEFINITIONS.as_bytes()));
            }
            Told::ByService(service, _) => {
                pieces.push(Bytes::from_static(service.definition().as_bytes()));
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// The servers with instructions for models, each with its words, in the order of their names.
    pub(crate) fn instructions(&self) -> impl Iterator<Item = (&ServerName, &str)> {
        let offered = self
            .by_name()
            .filter(|offered| !offered.entries().is_empty());
        offered.filter_map(|offered| Some((&offered.server().name, offered.instructions()?)))
    }

    /// The servers in the order of their tools' names. No tool of another server comes between two
    /// of one, since a server's name and `__` begin all of its tools' names, and none of others'.
    fn by_name(&self) -> impl Iterator<Item = &Offered> {
        let mut servers: Vec<&Offered> = self.servers.iter().map(|offered| &**offered).collect();
        servers.sort_by_key(|offered| offered.entries().first().map(|entry| &*entry.offer().name));
        servers.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        json::concat,
        mcp::Tool,
        offer::{Offer, Offers},
        registry::{Gate, Pins, SelectedTool, Server, ToolPolicy},
    };

    fn tool(name: &str) -> Tool {
        Tool {
            name: name.into(),
            input_schema: RawValue::from_string("{}".into()).unwrap(),
            title: None,
            description: Some(format!("{name} hides\u{200b} something")),
            output_schema: None,
            annotations: None,
        }
    }

    fn list(server: &str, tools: &[String]) -> Offers {
        let tools = tools.iter().map(|name| tool(name)).collect();
        Offers::new(&server.parse().unwrap(), tools, Vec::new())
    }

    /// Servers whose names begin alike, each with tools, of which it selects and accepts some.
    fn servers() -> impl Strategy<Value = Vec<(Arc<Server>, Offers)>> {
        let all = ["a", "a-b", "ab", "a0", "b"].map(str::to_owned).to_vec();
        let tools = prop::collection::btree_set("[a-c_.-]{1,3}", 1..6);
        let server = (tools, any::<[bool; 6]>(), any::<[bool; 6]>(), 0..3_u8);
        let names = prop::sample::subsequence(all, 1..=5).prop_shuffle();
        (names, prop::collection::vec(server, 5)).prop_map(|(names, servers)| {
            let server = |(name, (tools, selected, accepted, how)): (String, (_, _, _, _))| {
                let tools: Vec<String> = std::collections::BTreeSet::into_iter(tools).collect();
                let mut offers = list(&name, &tools);
                let mut server = Server::new(&name, "https://a.example/mcp").unwrap();
                let chosen = tools.iter().zip(selected).filter(|(_, chosen)| *chosen);
                let chosen = chosen.map(|(tool, _)| SelectedTool::new(tool, ToolPolicy::AskFirst));
                if how == 1 {
                    server = server
                        .with_tools(chosen)
                        .unwrap_or_else(|_| Server::new(&name, "https://a.example/mcp").unwrap());
                }
                if how == 2 {
                    server.new_tools = Some(Gate::Block);
                    let known = offers.tools.iter().zip(accepted).filter(|(_, is)| *is);
                    let pin = |offer: &Offer| (offer.tool.clone(), offer.listed.fingerprint());
                    let pins: Pins = known.map(|(offer, _)| pin(offer)).collect();
                    offers.pins = Some(Arc::new(pins));
                }
                (Arc::new(server), offers)
            };
            names.into_iter().zip(servers).map(server).collect()
        })
    }

    /// What each server offers, one tool after the other, and all of them in order.
    fn slowly(servers: &[(Arc<Server>, Offers)]) -> Vec<(&Server, &Offer, ToolPolicy)> {
        let mut all = Vec::new();
        for (server, offers) in servers {
            let tools = offers.selected(server);
            all.extend(tools.map(|(offer, policy)| (&**server, &**offer, policy)));
        }
        all.sort_by_key(|(_, offer, _)| &*offer.name);
        all
    }

    fn assert_same(catalog: &Catalog, all: &[(&Server, &Offer, ToolPolicy)]) {
        let entries: Vec<&Entry> = catalog.entries().collect();
        assert_eq!(entries.len(), all.len());
        for (entry, (server, offer, policy)) in entries.iter().zip(all) {
            assert!(std::ptr::eq(entry.offer(), *offer));
            assert!(std::ptr::eq(&*entry.server, *server));
            assert_eq!(entry.policy, *policy);
            let found = catalog.entry(&offer.name).unwrap();
            assert!(std::ptr::eq(found.offer(), *offer));
        }
        let definitions: Vec<_> = all.iter().map(|(_, offer, _)| &*offer.definition).collect();
        let pieces = catalog.definitions().into_iter();
        let pieces: Vec<_> = pieces
            .flat_map(|piece| [Bytes::from_static(b","), piece])
            .collect();
        let pieces = concat(&pieces);
        assert_eq!(
            pieces.strip_prefix(b",").unwrap_or_default(),
            definitions.join(&b","[..])
        );
        assert_eq!(catalog.cleaned().count(), all.len());
        assert_eq!(
            catalog.counts().map(|(_, count)| count).sum::<usize>(),
            all.len()
        );
        for nobodys in ["", "a", "a__", "a-b__", "ab__zz", "zz__a"] {
            assert!(catalog.entry(nobodys).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_was_made_before_is_what_each_request_would_make(
            servers in servers(), chosen in any::<[bool; 30]>(),
        ) {
            let all = slowly(&servers);
            let catalog = || {
                let offered = servers.iter().map(|(server, offers)| offers.offered(server));
                Catalog::new(offered.collect())
            };
            assert_same(&catalog(), &all);
            // The second time nothing is made.
            let again = catalog();
            assert!(again.servers.iter().zip(&catalog().servers).all(|(a, b)| Arc::ptr_eq(a, b)));
            assert_same(&again, &all);

            let (some, others): (Vec<_>, Vec<_>) =
                all.iter().copied().zip(chosen).partition(|(_, chosen)| *chosen);
            let some: Vec<_> = some.into_iter().map(|(tool, _)| tool).collect();
            let mut names: Vec<String> = some.iter().map(|(_, offer, _)| offer.name.clone()).collect();
            names.reverse();
            names.extend(names.first().cloned());
            let only = again.only(&names).unwrap();
            assert_same(&only, &some);
            for ((_, offer, _), _) in others {
                assert!(only.entry(&offer.name).is_none());
            }
            assert_eq!(only.left_out().count(), again.left_out().count());
            names.push("a__nobodys".into());
            assert_eq!(again.only(&names).unwrap_err(), names.len() - 1);
        }

        #[test]
        fn another_record_or_list_has_its_own(servers in servers()) {
            for (server, offers) in &servers {
                let first = offers.offered(server);
                let edited = Arc::new(Server::clone(server).with_enabled(false));
                let second = offers.offered(&edited);
                assert!(!Arc::ptr_eq(&first, &second));
                assert!(std::ptr::eq(second.server(), &*edited));
                let back = offers.offered(server);
                assert!(std::ptr::eq(back.server(), &**server));
                assert_eq!(back.definitions(), first.definitions());
            }
        }
    }
}
