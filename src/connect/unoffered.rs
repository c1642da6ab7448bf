//! What does a server list that nobody can be offered?

use std::time::Duration;

use tokio::time::timeout;

use super::Connections;
use crate::{caller::CallerTokens, offer::LeftOut, registry::Server};

impl Connections {
    /// The tools of `server` that cannot be offered to anybody, selected or not: from the list that
    /// is in memory, else from one that is waited for this long. None where there is no list: why
    /// not is said elsewhere.
    pub(crate) async fn unoffered(&self, server: &Server, patience: Duration) -> Vec<LeftOut> {
        let listed = async {
            let shared = self.shared.clone();
            let access = shared.access(server, &CallerTokens::default()).await?;
            shared.list(server, access).await
        };
        match timeout(patience, listed).await {
            Ok(Ok(list)) => list.offers.left_out.clone(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}
