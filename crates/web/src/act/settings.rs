//! The one setting that is changed from a page: how long copies stay.

use std::net::IpAddr;

use axum::http::StatusCode;
use beamline::config::{Error, write_retention};
use custody::{AreaPolicy, Rule};

use crate::access::Visitor;
use crate::app::Shared;
use crate::fault::Fault;

/// Writes the rule into the configuration's file and tells custody, so that the next plan obeys. Plans made before are
/// void from then on.
pub(crate) async fn retention(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    site: &str,
    area: &str,
    rule: &str,
) -> Result<(), Fault> {
    let parsed: Rule = rule.parse().map_err(Fault::from)?;
    let shown: String = rule.chars().take(200).collect();
    let (on, action) = (format!("{area} at {site}"), format!("set retention to {shown:?}"));
    app.audit.asked(from, who, &action, &on)?;
    let (place, kept, person) = ((site.to_owned(), area.to_owned()), app.clone(), who.who.clone());
    let done = app.blocking(move || write(&kept, &place, parsed, &person)).await;
    app.audit.came(who, &action, &on, &done.clone().map(|()| "done".to_owned()));
    app.live.tell();
    done
}

fn write(app: &Shared, (site, area): &(String, String), rule: Rule, who: &str) -> Result<(), Fault> {
    let custody = &app.beamline.custody;
    let conflict = |why: String| Fault::new(StatusCode::CONFLICT, why);
    if let Some(authority) = custody.authority()? {
        return Err(conflict(format!("how long copies stay is kept in {}", authority.source))
            .hint("change it there; it is read before every plan"));
    }
    app.config.retention_is_open(site, area).map_err(conflict)?;
    let (_, mut policy) = custody.settings()?;
    let one = policy.sites.get_mut(site).and_then(|site| site.areas.get_mut(area));
    let one: &mut AreaPolicy =
        one.ok_or_else(|| Fault::not_found(format!("custody knows no {area} at {site}")))?;
    one.retention = rule.clone();
    // Judged before the file is touched: the two must not part.
    policy.check()?;
    write_retention(&app.config.path, site, area, &rule).map_err(|error| match error {
        Error::Invalid { .. } | Error::Syntax { .. } => {
            Fault::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
        }
        other => conflict(other.to_string()).hint("the file must be writable for whoever runs this server"),
    })?;
    custody.configure(&policy, who, app.now())?;
    Ok(())
}
