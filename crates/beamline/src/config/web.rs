//! `[web]`: the dashboard.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Web;
use super::read::{Problems, Section};

/// The roles, as they are written.
const ROLES: [&str; 3] = ["look", "operate", "administer"];

/// Reads the section.
pub(super) fn web(section: Option<Section<'_, '_>>, problems: &mut Problems<'_>) -> Web {
    let mut web = Web::default();
    let Some(mut section) = section else { return web };
    if let Some((at, text)) = section.text("listen", problems) {
        match text.parse::<SocketAddr>() {
            Ok(address) => web.listen = Some(address),
            Err(_) => {
                let message = format!("{text:?} is no address; write for example \"127.0.0.1:8320\"");
                problems.at(at, "web.listen", message);
            }
        }
    }
    for (at, host) in section.texts("hosts", problems) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        match !host.is_empty() && host.chars().all(fits) {
            true => web.hosts.push(host),
            false => problems.at(at, "web.hosts", "a host name alone, without http:// and port"),
        }
    }
    web.https = section.flag("https", problems).unwrap_or(false);
    if let Some((at, header)) = section.text("proxy_header", problems) {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        match !header.is_empty() && header.chars().all(fits) {
            true => web.proxy_header = Some(header),
            false => problems.at(at, "web.proxy_header", "is no name of a header; write \"X-Remote-User\""),
        }
    }
    let at = section.place("roles");
    web.roles = section.settings("roles", problems);
    for (who, role) in &web.roles {
        if !ROLES.contains(&role.as_str()) {
            let message = format!("{role:?} is no role; roles are {}", ROLES.join(", "));
            problems.at(at, format!("web.roles.{who}"), message);
        }
    }
    if !web.roles.is_empty() && web.proxy_header.is_none() {
        let message =
            "speaks of people that a proxy names; set proxy_header, or write roles into the access file";
        problems.at(at, "web.roles", message);
        web.roles = BTreeMap::new();
    }
    section.finish(problems);
    web
}
