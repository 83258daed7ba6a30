//! What custody and the engine are told.

use std::collections::BTreeMap;

use custody::{AreaPolicy, Settings, SitePolicy};

use super::Config;

impl Config {
    /// The policy as custody wants it.
    pub fn policy(&self) -> Settings {
        let sites: BTreeMap<String, SitePolicy> = self
            .sites
            .iter()
            .map(|(name, site)| {
                let areas = site.areas.iter().map(|(name, area)| {
                    let policy = AreaPolicy {
                        path: area.path.clone(),
                        retention: area.retention.clone(),
                        derived: area.derived,
                    };
                    (name.clone(), policy)
                });
                let policy =
                    SitePolicy { counted: site.counted, digests: site.digests, areas: areas.collect() };
                (name.clone(), policy)
            })
            .collect();
        Settings {
            sites,
            services: self
                .beamline
                .catalogue
                .then(|| super::build::CATALOGUE.to_owned())
                .into_iter()
                .collect(),
            level: self.custody.level,
            scrub_after: self.custody.scrub_after,
            notice: self.custody.notice,
            export: self.export.clone(),
            ..Settings::default()
        }
    }
}
