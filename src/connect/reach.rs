//! May a server be there?

use url::Url;

use super::Connections;
use crate::outbound;

impl Connections {
    /// Whether calls may go to `url`, as far as that can be said without looking its name up; for
    /// whoever is about to save it.
    ///
    /// # Errors
    /// The first thing about the URL that is not acceptable.
    pub(crate) fn may_reach(&self, url: &Url) -> Result<(), outbound::Error> {
        self.shared.outbound.check(url)
    }
}
