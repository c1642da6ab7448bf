//! A model that is an alias: the tools of its servers, with the model that it stands for, which the
//! request has instead from then on.

use super::{OptIn, names::wanted};
use crate::registry::ModelAlias;

/// The place of the name in a request.
const PARAM: &str = "model";

/// How an alias opts in.
pub(super) fn opt_in(alias: &ModelAlias) -> OptIn {
    let names = alias.servers.iter().map(ToString::to_string);
    OptIn::servers(PARAM, wanted(names.collect(), PARAM))
}
