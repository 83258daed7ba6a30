//! A worker of Prefect that does runs on the local journal and reports them back.
//!
//! Prefect triggers and shows; the journal is the truth for resume. A run that is claimed gets a run here whose
//! id is derived from Prefect's, so the identities of outside work are the same on whichever host it is done.
//! What happens is told in the journal's order, from a number that is kept on disk: when the server is away,
//! runs go on and are told later; when this process dies, telling goes on where it was.
//!
//! What is not ours is not touched: after a start, runs of before are held back until Prefect has said that
//! nobody else took them.

mod asking;
mod bridge;
mod edges;
mod error;
mod ledger;
mod mirror;
mod orders;
mod owner;
mod papers;
mod post;
mod reports;
mod settings;
mod setup;
mod show;
mod starts;
mod worker;

pub use error::{Error, Result};
pub use orders::{ORDERS, deliver_order};
pub use owner::{Owner, owner, take_custody};
pub use reports::{REPORTS, deliver_report, mark};
pub use settings::PrefectSettings;
pub use setup::{Change, Item, Plan, Saved, Wanted, plan, put_back, saved, take_over};
pub use starts::PrefectStarts;
pub use worker::{Options, POOL_TYPE, Summary, Worker};
