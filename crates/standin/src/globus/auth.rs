//! Globus Auth: tokens for confidential clients, and what they may do.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Collection;
use super::faults::consent_required;
use super::http::{Answer, Reply, Request, new_id};
use super::state::World;

/// Resource server of Transfer.
pub const TRANSFER: &str = "transfer.api.globus.org";
/// Resource server of Compute, which kept the name of its youth.
pub const COMPUTE: &str = "funcx_service";
/// Resource server of Flows.
pub const FLOWS: &str = "flows.globus.org";
const AUTH: &str = "auth.globus.org";

const TRANSFER_ALL: &str = "urn:globus:auth:scope:transfer.api.globus.org:all";
const COMPUTE_ID: &str = "facd7ccc-c5f4-42aa-916b-a0e270e2c2a9";
const FLOWS_ID: &str = "eec9b274-0c81-4334-bdc2-54e90e689b9a";
const SCOPES: &str = "https://auth.globus.org/scopes/";

/// An access token.
#[derive(Clone, Deserialize, Serialize)]
pub struct Token {
    pub resource_server: String,
    /// Scopes without what depends on them.
    pub scopes: Vec<String>,
    /// Scopes as they were asked for.
    pub asked: Vec<String>,
    pub client: String,
    /// Seconds since 1970.
    pub issued: i64,
    pub expires: i64,
}

impl Token {
    /// Was this scope granted?
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }

    /// A scope of Flows, by its last part.
    pub fn may(&self, action: &str) -> bool {
        self.has(&flows_scope(action)) || self.has(&flows_scope("all"))
    }

    /// May this collection be used? Mapped ones want `data_access`.
    pub fn consents_to(&self, collection: &Collection) -> bool {
        consents(&self.asked, collection)
    }
}

/// Do these scopes allow the use of this collection?
pub fn consents(asked: &[String], collection: &Collection) -> bool {
    let scope = format!("{SCOPES}{}/data_access", collection.id);
    !collection.needs_consent || asked.iter().any(|asked| asked.contains(&scope))
}

/// A scope of the service Flows.
pub fn flows_scope(action: &str) -> String {
    format!("{SCOPES}{FLOWS_ID}/{action}")
}

/// The scope that a token needs to start this flow.
pub fn flow_scope(flow: &str) -> String {
    format!("{SCOPES}{flow}/flow_{}_user", flow.replace('-', "_"))
}

/// The token of a request, if it is for this resource server and still good.
pub fn authorize(world: &World, request: &Request, server: &str) -> Result<Token, Answer> {
    let refuse = |message: &str| {
        let code = if server == TRANSFER { "AuthenticationFailed" } else { "UNAUTHORIZED" };
        request.refuse(401, code, message)
    };
    let presented = request.bearer().ok_or_else(|| refuse("No credentials supplied"))?;
    let token = world.read(|state| state.tokens.get(presented).cloned());
    match token {
        Some(token) if token.expires <= seconds() => Err(refuse("Token is expired")),
        Some(token) if token.resource_server == server => Ok(token),
        Some(_) => Err(refuse("Token is for another resource server")),
        None => Err(refuse("Token is not active")),
    }
}

/// Refuses a call on a collection whose consent is missing.
pub fn consent(request: &Request, token: &Token, collection: &Collection) -> Result<(), Answer> {
    if token.consents_to(collection) {
        return Ok(());
    }
    let scope = format!("{TRANSFER_ALL}[*{SCOPES}{}/data_access]", collection.id);
    Err(consent_required(request, vec![scope]))
}

pub fn route(world: &Arc<World>, request: &Request, method: &str, parts: &[&str]) -> Reply {
    match (method, parts) {
        ("POST", ["v2", "oauth2", "token"]) => grant(world, request),
        ("POST", ["v2", "oauth2", "token", "introspect"]) => introspect(world, request),
        ("POST", ["v2", "oauth2", "token", "revoke"]) => revoke(world, request),
        ("GET", ["v2", "oauth2", "userinfo"]) => userinfo(world, request),
        ("GET", ["v2", "api", "identities"]) => identities(world, request),
        _ => Err(request.not_found()),
    }
}

/// The client of `Authorization: Basic`.
fn client(world: &World, request: &Request) -> Result<String, Answer> {
    let refused = || request.refuse(401, "invalid_client", "The client id or secret is wrong");
    let encoded = request
        .authorization
        .as_deref()
        .and_then(|value| value.strip_prefix("Basic "))
        .ok_or_else(refused)?;
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (id, secret) = decoded.as_deref().and_then(|pair| pair.split_once(':')).ok_or_else(refused)?;
    let known = world.config.clients.iter().any(|(known, its_secret)| known == id && its_secret == secret);
    if known { Ok(id.to_owned()) } else { Err(refused()) }
}

fn grant(world: &World, request: &Request) -> Reply {
    let client = client(world, request)?;
    let form = request.form();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if field("grant_type") != Some("client_credentials") {
        return Err(request.refuse(
            400,
            "unsupported_grant_type",
            "Only client_credentials are granted here",
        ));
    }
    let mut servers: Vec<(String, Vec<String>)> = Vec::new();
    let asked = split_scopes(field("scope").unwrap_or(TRANSFER_ALL))
        .ok_or_else(|| request.refuse(400, "invalid_scope", "The brackets of the scopes do not match"))?;
    for scope in asked {
        let base = scope.split('[').next().unwrap_or(&scope).trim_start_matches('*');
        let server = server_of(world, base)
            .filter(|_| dependents(&scope).iter().all(|inner| world.grants(inner)))
            .ok_or_else(|| request.refuse(400, "unknown_scope", &format!("Unknown Scope: {scope}")))?;
        match servers.iter_mut().find(|(name, _)| *name == server) {
            Some((_, scopes)) => scopes.push(scope),
            None => servers.push((server, vec![scope])),
        }
    }
    let lifetime = world.config.token_lifetime;
    let issued = seconds();
    let mut documents = Vec::new();
    let tokens: Vec<_> = servers
        .into_iter()
        .map(|(resource_server, asked)| {
            let secret = format!("Ag{}{}", new_id().replace('-', ""), &new_id()[..8]);
            let scopes: Vec<String> =
                asked.iter().map(|scope| scope.split('[').next().unwrap_or("").to_owned()).collect();
            documents.push(json!({
                "access_token": secret, "scope": scopes.join(" "), "expires_in": lifetime,
                "token_type": "Bearer", "resource_server": resource_server,
            }));
            let expires = issued.saturating_add_unsigned(lifetime);
            (secret, Token { resource_server, scopes, asked, client: client.clone(), issued, expires })
        })
        .collect();
    world.change(|state| {
        state.tokens.retain(|_, token| token.expires > issued);
        state.tokens.extend(tokens);
    });
    if documents.is_empty() {
        return Err(request.refuse(400, "invalid_scope", "No scope was asked for"));
    }
    let mut first = documents.remove(0);
    first["other_tokens"] = Value::Array(documents);
    Ok(Answer::ok(first))
}

impl World {
    /// Is this dependent scope known? Only mapped collections have `data_access`.
    fn grants(&self, scope: &str) -> bool {
        match scope.strip_prefix(SCOPES).and_then(|rest| rest.strip_suffix("/data_access")) {
            Some(id) => self.collection(id).is_some_and(|collection| collection.needs_consent),
            None => server_of(self, scope).is_some(),
        }
    }
}

/// Splits a list of scopes at the spaces outside of brackets; `None` if the brackets do not match.
fn split_scopes(list: &str) -> Option<Vec<String>> {
    let (mut found, mut depth, mut current) = (Vec::new(), 0_i32, String::new());
    for letter in list.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
        if letter == ' ' && depth == 0 {
            found.push(std::mem::take(&mut current));
        } else {
            current.push(letter);
        }
    }
    found.push(current);
    found.retain(|scope| !scope.is_empty());
    (depth == 0).then_some(found)
}

/// The scopes inside the brackets of one, at any depth.
fn dependents(scope: &str) -> Vec<&str> {
    scope
        .split(['[', ']', ' '])
        .skip(1)
        .map(|inner| inner.trim_start_matches('*'))
        .filter(|inner| !inner.is_empty())
        .collect()
}

/// The resource server of a scope, or `None` if there is no such scope.
fn server_of(world: &World, scope: &str) -> Option<String> {
    if matches!(scope, "openid" | "email" | "profile")
        || scope.starts_with("urn:globus:auth:scope:auth.globus.org:")
    {
        return Some(AUTH.to_owned());
    }
    if scope.starts_with("urn:globus:auth:scope:transfer.api.globus.org:") {
        return Some(TRANSFER.to_owned());
    }
    // The command line asks for these at every start and uses them for other commands than ours.
    if let Some(other) = scope.strip_prefix("urn:globus:auth:scope:") {
        return other.split(':').next().map(str::to_owned);
    }
    let (id, name) = scope.strip_prefix(SCOPES)?.split_once('/')?;
    match id {
        COMPUTE_ID => Some(COMPUTE.to_owned()),
        FLOWS_ID => Some(FLOWS.to_owned()),
        "actions.globus.org" | "transfer.actions.globus.org" | "compute.actions.globus.org" => {
            Some(id.to_owned())
        }
        _ if name == "data_access" => None,
        _ if name.starts_with("flow_") => {
            world.read(|state| state.flows.contains_key(id)).then(|| id.to_owned())
        }
        _ => Some(id.to_owned()),
    }
}

fn introspect(world: &World, request: &Request) -> Reply {
    let client = client(world, request)?;
    let form = request.form();
    let presented = form.iter().find(|(key, _)| key == "token").map_or("", |(_, value)| value.as_str());
    let token =
        world.read(|state| state.tokens.get(presented).cloned()).filter(|token| token.expires > seconds());
    let Some(token) = token else { return Ok(Answer::ok(json!({"active": false}))) };
    Ok(Answer::ok(json!({
        "active": true, "aud": [token.resource_server, client], "client_id": token.client,
        "email": null, "exp": token.expires, "iat": token.issued, "nbf": token.issued,
        "iss": "https://auth.globus.org", "name": "stand-in client", "scope": token.scopes.join(" "),
        "sub": token.client, "token_type": "Bearer", "username": username(&token.client),
        "identity_set": [token.client], "identities_set": [token.client],
    })))
}

fn revoke(world: &World, request: &Request) -> Reply {
    client(world, request)?;
    let form = request.form();
    if let Some((_, token)) = form.iter().find(|(key, _)| key == "token") {
        world.change(|state| state.tokens.remove(token));
    }
    Ok(Answer::ok(json!({"active": false})))
}

fn userinfo(world: &World, request: &Request) -> Reply {
    let token = authorize(world, request, AUTH)?;
    let identity = identity(&token.client);
    Ok(Answer::ok(json!({
        "sub": token.client, "preferred_username": username(&token.client), "name": "stand-in client",
        "email": null, "organization": "stand-in", "identity_provider": token.client,
        "identity_provider_display_name": "Globus Auth", "last_authentication": token.issued,
        "identity_set": [super::http::merged(identity, json!({"sub": token.client, "last_authentication": token.issued}))],
    })))
}

fn identities(world: &World, request: &Request) -> Reply {
    authorize(world, request, AUTH)?;
    let list = |name: &str| request.q(name).unwrap_or("").split(',').map(str::to_owned).collect::<Vec<_>>();
    let (ids, names) = (list("ids"), list("usernames"));
    let known = world.config.clients.iter().map(|(id, _)| id);
    let found: Vec<Value> =
        known.filter(|id| ids.contains(id) || names.contains(&username(id))).map(|id| identity(id)).collect();
    Ok(Answer::ok(json!({"identities": found})))
}

fn identity(client: &str) -> Value {
    json!({
        "id": client, "username": username(client), "name": "stand-in client", "email": null, "status": "used",
        "organization": "stand-in", "identity_type": "login", "identity_provider": client,
        "identity_provider_display_name": "Globus Auth",
    })
}

fn username(client: &str) -> String {
    format!("{client}@clients.auth.globus.org")
}

fn seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_split_outside_of_brackets() {
        assert_eq!(split_scopes("a b[*c d[e]] f").unwrap(), ["a", "b[*c d[e]]", "f"]);
        assert_eq!(dependents("b[*c d[e]]"), ["c", "d", "e"]);
        assert_eq!(split_scopes("a[b"), None);
        assert_eq!(split_scopes("a]b["), None);
        assert_eq!(split_scopes("").unwrap(), Vec::<String>::new());
    }
}
