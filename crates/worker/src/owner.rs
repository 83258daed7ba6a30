//! Who holds custody. A beamline has one owner: the state folder of the worker that came first, named by a variable in
//! Prefect. Nothing is deleted elsewhere. It does not change by itself, for the records are where they are.

use jiff::Timestamp;
use prefect::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::Result;

/// The variable's name.
const OWNER: &str = "beamrail_custody_owner";

/// Custody's owner as Prefect names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The mark of its state folder.
    pub mark: String,
    /// The host on which it was when it became the owner.
    pub host: String,
    /// When.
    pub since: Timestamp,
}

/// The owner, if there is one.
///
/// # Errors
/// What the server says.
pub async fn owner(client: &Client) -> Result<Option<Owner>> {
    let found = client.variable(OWNER).await?;
    Ok(found.and_then(|value| serde_json::from_value(value).ok()))
}

/// The owner; this state folder where there is none. Two that ask at once find the same one.
pub(crate) async fn owner_or(client: &Client, mark: &str, host: &str) -> Result<Owner> {
    let me = Owner { mark: mark.to_owned(), host: host.to_owned(), since: Timestamp::now() };
    // Made only where there is none: the server decides who was first.
    if owner(client).await?.is_none() {
        client.create_variable(OWNER, &json!(me), &["beamrail"]).await?;
    }
    Ok(owner(client).await?.unwrap_or(me))
}

/// Makes this state folder the owner, whoever was: by a person's word, when the old one is gone for good.
///
/// # Errors
/// What the server says.
pub async fn take_custody(client: &Client, mark: &str, host: &str) -> Result<Option<Owner>> {
    let before = owner(client).await?;
    let me = json!(Owner { mark: mark.to_owned(), host: host.to_owned(), since: Timestamp::now() });
    if !client.create_variable(OWNER, &me, &["beamrail"]).await? {
        client.update_variable(OWNER, &me).await?;
    }
    Ok(before.filter(|before| before.mark != mark))
}
