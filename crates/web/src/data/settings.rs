//! The effective configuration: every value with its origin. Secrets are not in it; of those only whether they are
//! there is told.

use beamline::config::Setting;
use serde::Serialize;

use crate::app::Shared;
use crate::fault::Fault;

/// The variables of the environment that are looked at. Of secrets, only whether they are set is shown.
const VARIABLES: [&str; 11] = [
    "BEAMRAIL_CONFIG",
    "BEAMRAIL_WEB_ACCESS_FILE",
    "BEAMRAIL_WEB_TOKEN",
    "BEAMRAIL_WEB_TOKEN_FILE",
    "BEAMRAIL_PROXY_SECRET",
    "BEAMRAIL_PROXY_SECRET_FILE",
    "GLOBUS_CLIENT_ID",
    "GLOBUS_CLIENT_SECRET",
    "GLOBUS_CLIENT_SECRET_FILE",
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
];

/// The rule of an area, and whether it can be changed here.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Retention {
    /// The site.
    pub site: String,
    /// raw or scratch.
    pub area: String,
    /// The rule in force, in words.
    pub rule: String,
    /// The rule that the file said when this server began.
    pub began: String,
    /// Why it cannot be changed here.
    pub closed: Option<String>,
}

/// The effective configuration.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Effective {
    /// The file that it was read from.
    pub file: String,
    /// Whether the file has changed since this server began; it is read again at its next start.
    pub changed: bool,
    /// Every value.
    pub settings: Vec<Setting>,
    /// How long copies stay.
    pub retention: Vec<Retention>,
    /// Where that is kept besides the file, if it is, and why that could not be read.
    pub elsewhere: Option<(String, Option<String>)>,
    /// Variables of the environment, and whether they are set.
    pub environment: Vec<(String, bool)>,
}

/// Reads it all.
pub(crate) async fn effective(app: &Shared) -> Result<Effective, Fault> {
    let shared = app.clone();
    let (policy, authority, text) = app
        .blocking(move || {
            let custody = &shared.beamline.custody;
            let text = std::fs::read_to_string(&shared.config.path).unwrap_or_default();
            Ok((custody.settings()?.1, custody.authority()?, text))
        })
        .await?;
    let mut settings = app.config.effective(&text);
    let mut retention = Vec::new();
    for (site, one) in &policy.sites {
        for (area, rule) in &one.areas {
            let key = format!("sites.{site}.retention.{area}");
            let mut began = String::new();
            if let Some(setting) = settings.iter_mut().find(|setting| setting.key == key) {
                began = std::mem::replace(&mut setting.value, rule.retention.to_string());
            }
            let closed = match &authority {
                Some(authority) => Some(format!("it is kept in {}", authority.source)),
                None => app.config.retention_is_open(site, area).err(),
            };
            let (site, area, rule) = (site.clone(), area.clone(), rule.retention.to_string());
            retention.push(Retention { site, area, rule, began, closed });
        }
    }
    Ok(Effective {
        file: app.config.path.display().to_string(),
        changed: app.text != text,
        settings,
        retention,
        elsewhere: authority.map(|authority| (authority.source, authority.silent)),
        environment: VARIABLES
            .iter()
            .map(|name| ((*name).to_owned(), std::env::var_os(name).is_some()))
            .collect(),
    })
}
