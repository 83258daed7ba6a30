//! Storage, sites and facilities, settings: to look at.

use axum::routing::get;

use super::{Api, Operation};
use crate::data::{settings, sites, storage};
use crate::pages;

/// Adds them.
pub(super) fn on(mut api: Api) -> Api {
    let (stored, places, effective) =
        (api.of::<storage::Told>(), api.of::<sites::Sites>(), api.of::<settings::Effective>());
    api.on(
        Operation::looking("/api/storage", "What is where, what goes when, plan and ledger", stored),
        get(pages::storage::json),
    )
    .on(Operation::looking("/api/sites", "How sites and facilities stand", places), get(pages::sites::json))
    .on(
        Operation::looking("/api/settings", "The configuration in force, with origins", effective),
        get(pages::settings::json),
    )
}
