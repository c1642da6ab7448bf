//! The gateway: what all requests of a layer share.

use std::sync::Arc;

use super::{detached::Detached, failure::remembered::Remembered, running::Running};
use crate::{
    connect::Connections,
    held::Room,
    media_models::MediaModels,
    registry::{ExchangeStore, ModelRegistry, ServerRegistry},
    settings::Settings,
};

/// Settings, registry and connections, which all requests of a layer share.
pub(crate) struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<dyn ServerRegistry>,
    pub(crate) connections: Connections,
    pub(crate) room: Arc<Room>,
    /// What the models' services rejected lately.
    pub(crate) remembered: Arc<Remembered>,
    /// The exchanges that run.
    pub(crate) running: Arc<Running>,
    /// The batches whose callers have hung up.
    pub(crate) detached: Arc<Detached>,
    /// Where exchanges are kept for later requests; `None` if nowhere.
    pub(crate) exchanges: Option<Arc<dyn ExchangeStore>>,
    /// Aliases of models, and default servers.
    pub(crate) models: Arc<dyn ModelRegistry>,
    /// Which models take images and recordings.
    pub(crate) media_models: Arc<dyn MediaModels>,
}
