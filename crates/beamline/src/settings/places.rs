//! Which key of which setting is about which area: `delete_alcf832_files_after_days` of `pruning-config`.

use custody::Age;
use serde_json::Value;

use super::{Given, PRUNING};
use crate::config::Config;
use crate::runtime::area;

/// The places of a beamline as the keys of settings name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// "832" of "8.3.2".
    number: String,
    data_host: String,
    detector: Option<String>,
}

impl Places {
    /// Of this beamline.
    pub fn of(config: &Config) -> Self {
        let data_host = config.data_host().unwrap_or_default().to_owned();
        let detector = config.flows.get("new_832_file_flow").and_then(|flow| flow.source.clone());
        Self {
            number: config.beamline.id.chars().filter(char::is_ascii_digit).collect(),
            detector: detector.filter(|site| *site != data_host),
            data_host,
        }
    }

    /// The name of the setting about raw data at the beamline: `bl832-settings`.
    pub fn raw_settings(&self) -> String {
        format!("bl{}-settings", self.number)
    }

    /// The setting that an area of a site is looked for in.
    fn setting(&self, site: &str, area: &str) -> String {
        let here = site == self.data_host || self.detector.as_deref() == Some(site);
        if here && area == area::RAW { self.raw_settings() } else { PRUNING.to_owned() }
    }

    /// A site's name as keys have it: with the beamline's number.
    fn place(&self, site: &str) -> String {
        if self.number.is_empty() || site.contains(&self.number) {
            site.to_owned()
        } else {
            format!("{site}{}", self.number)
        }
    }

    /// The keys that can be about an area, the most precise first.
    fn candidates(&self, site: &str, area: &str) -> Vec<String> {
        let mut places = vec![self.place(site), site.to_owned()];
        if self.detector.as_deref() == Some(site) {
            places.push(format!("spot{}", self.number));
        }
        if site == self.data_host {
            places.push(format!("data{}", self.number));
        }
        let mut keys: Vec<String> = places.iter().map(|place| key(&format!("{place}_{area}"))).collect();
        for place in places {
            // nersc832_alsdev_pscratch is a place of nersc832.
            let mut rest = place.as_str();
            keys.push(key(rest));
            while let Some((above, _)) = rest.rsplit_once('_') {
                rest = above;
                keys.push(key(rest));
            }
        }
        keys
    }

    /// The keys that say these ages of a site's areas, with their setting.
    pub(super) fn keys(&self, site: &str, ages: &[(&str, Age)]) -> Vec<(String, String, Age)> {
        let mut keys: Vec<(String, String, Age)> = Vec::new();
        for (area, age) in ages {
            let setting = self.setting(site, area);
            // One key for the place where all areas of the setting agree, else one for each.
            let agree = ages
                .iter()
                .filter(|(other, _)| self.setting(site, other) == setting)
                .all(|(_, other)| other == age);
            let place = self.place(site);
            let key = if agree { key(&place) } else { key(&format!("{place}_{area}")) };
            keys.push((setting, key, *age));
        }
        keys
    }

    /// The age that was given for an area.
    pub(super) fn given(&self, site: &str, area: &str, given: &Given) -> Result<Option<Age>, String> {
        let setting = self.setting(site, area);
        let Some(values) = given.get(&setting) else { return Ok(None) };
        let Some(values) = values.as_object() else {
            return Err(format!("{setting} is no object of names and days"));
        };
        for key in self.candidates(site, area) {
            match values.get(&key) {
                None | Some(Value::Null) => (),
                Some(value) => {
                    let age = days(value).ok_or_else(|| {
                        format!("{setting}: {key} is {value}, and must be a number of days, such as 2 or 0.5")
                    });
                    return age.map(Some);
                }
            }
        }
        Ok(None)
    }
}

fn key(place: &str) -> String {
    format!("delete_{place}_files_after_days")
}

/// A number of days, or a text that is one or has a unit.
fn days(value: &Value) -> Option<Age> {
    let number = |days: f64| {
        let seconds = days * 86_400.0;
        // A thousand years: more is a mistake.
        (days.is_finite() && (0.0..=3.2e10).contains(&seconds)).then(|| Age::seconds(seconds.round() as i64))
    };
    match value {
        Value::Number(days) => number(days.as_f64()?),
        Value::String(text) => text.trim().parse::<f64>().ok().and_then(number).or_else(|| text.parse().ok()),
        _ => None,
    }
}
