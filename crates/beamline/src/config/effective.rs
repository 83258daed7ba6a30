//! The configuration as it is in force, value by value, each with the place that it comes from; and the one change that
//! can be made to the file from elsewhere.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use custody::{Keep, Rule};
use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::{Config, Error};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Origin {
    /// The configuration's file.
    File {
        /// The line, counted from 1.
        line: usize,
    },
    /// Nothing was said.
    Default,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Setting {
    /// `sites.nersc.retention.scratch`
    pub key: String,
    /// As it is in force; `${NAME}` stays as it was written.
    pub value: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// The line of every key of a file, by its full name. A text that is no TOML has none.
fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    if let Ok(document) = DeTable::parse(text) {
        walk(document.get_ref(), "", text, &mut all);
    }
    all
}

fn walk(table: &DeTable<'_>, above: &str, text: &str, all: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let name = match above {
            "" => key.get_ref().to_string(),
            above => format!("{above}.{}", key.get_ref()),
        };
        let before = text.as_bytes().get(..key.span().start).unwrap_or_default();
        all.insert(name.clone(), 1 + before.iter().filter(|byte| **byte == b'\n').count());
        if let DeValue::Table(table) = value.get_ref() {
            walk(table, &name, text, all);
        }
    }
}

impl Config {
    /// Every value in force, section by section. `text` is what the file holds.
    pub fn effective(&self, text: &str) -> Vec<Setting> {
        let lines = lines(text);
        let mut all = Vec::new();
        let mut add = |key: String, value: String| {
            let origin = lines.get(&key).map_or(Origin::Default, |line| Origin::File { line: *line });
            all.push(Setting { key, value, origin });
        };
        let maybe = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
        let list = |all: &[String]| if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        add("beamline.id".into(), self.beamline.id.clone());
        add("beamline.time_zone".into(), self.beamline.time_zone.clone());
        add("beamline.data_host".into(), maybe(self.data_host().map(str::to_owned)));
        add("beamline.catalogue".into(), self.beamline.catalogue.to_string());
        add("state.folder".into(), self.state.display().to_string());
        for (name, site) in &self.sites {
            let key = |what: &str| format!("sites.{name}.{what}");
            add(key("kind"), site.kind.name().to_owned());
            add(key("root"), site.root.display().to_string());
            for (area, one) in &site.areas {
                add(key(area), one.path.to_string());
                add(key(&format!("retention.{area}")), one.retention.to_string());
                let keep = if one.derived == Keep::KeepOne { "keep-one" } else { "expire" };
                add(key(&format!("derived.{area}")), keep.to_owned());
            }
            add(key("counted"), site.counted.to_string());
            add(key("digests"), site.digests.to_string());
            if let Some(marker) = &site.marker {
                add(key("marker"), marker.clone());
            }
            if let Some(local) = &site.local {
                add(key("local"), local.display().to_string());
            }
            for (more, value) in &site.more {
                add(key(more), value.clone());
            }
        }
        for (name, one) in &self.facilities {
            let key = |what: &str| format!("facilities.{name}.{what}");
            add(key("kind"), one.kind.name().to_owned());
            add(key("site"), one.site.clone());
            add(key("site_root"), maybe(one.site_root.as_ref().map(|root| root.display().to_string())));
            add(key("command"), one.command.clone());
            add(key("jobs"), one.jobs.to_string());
            add(key("memory"), maybe(one.memory.clone()));
            add(key("threads"), maybe(one.threads.map(|n| n.to_string())));
            add(key("slots"), maybe(one.slots.map(|n| n.to_string())));
            add(key("walltime"), one.walltime.to_string());
            add(key("queue_limit"), one.queue_limit.to_string());
            for (more, value) in &one.more {
                add(key(more), value.clone());
            }
        }
        for (name, flow) in &self.flows {
            let key = |what: &str| format!("flows.{name}.{what}");
            for (what, value) in [
                ("source", flow.source.clone()),
                ("facility", flow.facility.clone()),
                ("recipe", flow.recipe.clone()),
                ("quick_look", flow.quick_look.clone()),
                ("area", flow.area.clone()),
                ("pool", flow.pool.clone()),
                ("queue", flow.queue.clone()),
                ("concurrency", flow.concurrency.map(|n| n.to_string())),
            ] {
                if let Some(value) = value {
                    add(key(what), value);
                }
            }
            for (what, values) in [
                ("return_to", &flow.return_to),
                ("send_to", &flow.send_to),
                ("write", &flow.write),
                ("flows", &flow.flows),
                ("fail_over", &flow.fail_over),
            ] {
                if !values.is_empty() {
                    add(key(what), list(values));
                }
            }
            for (parameter, value) in &flow.set {
                add(key(&format!("set.{parameter}")), value.clone());
            }
            add(key("retries"), flow.retries.to_string());
        }
        let folders: Vec<String> = self.watch.folders.iter().map(|one| one.display().to_string()).collect();
        add("watch.folders".into(), list(&folders));
        add("watch.flow".into(), maybe(self.watch.flow.clone()));
        add("watch.quiet".into(), self.watch.quiet.to_string());
        add("watch.poll".into(), self.watch.poll.to_string());
        add("watch.backlog".into(), self.watch.backlog.to_string());
        add("export.default".into(), self.export.default.to_string());
        add("export.folders".into(), list(&self.export.folders));
        let allowed: Vec<String> = self.export.allowed_sites.iter().cloned().collect();
        add("export.allowed_sites".into(), list(&allowed));
        add("custody.level".into(), self.custody.level.name().to_owned());
        add("custody.scrub_after".into(), self.custody.scrub_after.to_string());
        add("custody.notice".into(), self.custody.notice.to_string());
        for (name, one) in &self.schedules {
            let key = |what: &str| format!("schedules.{name}.{what}");
            add(key("flow"), one.flow.clone());
            if let Some(cron) = &one.cron {
                add(key("cron"), cron.clone());
            }
            if let Some(every) = one.every {
                add(key("every"), every.to_string());
            }
            add(key("catch_up"), one.catch_up.clone());
        }
        add("prefect.pool".into(), self.prefect.pool.clone());
        add("prefect.queue".into(), maybe(self.prefect.queue.clone()));
        add("web.listen".into(), maybe(self.web.listen.map(|at| at.to_string())));
        add("web.hosts".into(), list(&self.web.hosts));
        add("web.https".into(), self.web.https.to_string());
        add("web.proxy_header".into(), maybe(self.web.proxy_header.clone()));
        for (who, role) in &self.web.roles {
            add(format!("web.roles.{who}"), role.clone());
        }
        all
    }

    /// Whether the retention of an area may be changed from elsewhere; if not, why. A place that keeps raw data for good
    /// is named as such by whoever writes the file.
    pub fn retention_is_open(&self, site: &str, area: &str) -> Result<(), String> {
        let one = self.sites.get(site).and_then(|site| Some((site, site.areas.get(area)?)));
        match one {
            None => Err(format!("there is no {area} at {site}")),
            Some((site, one)) if site.counted && area == crate::area::RAW && one.retention == Rule::Never => {
                Err("it keeps raw data for good; only the file can say otherwise".into())
            }
            Some(_) => Ok(()),
        }
    }
}

/// Writes the retention of an area into the file at `path`: all else in it, comments included, stays as it is. The new
/// text is read and checked as a whole before it takes the old one's place.
///
/// # Errors
/// The file cannot be read or written, or would say something that it may not.
pub fn write_retention(path: &Path, site: &str, area: &str, rule: &Rule) -> Result<Config, Error> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    // The file itself, not a link to it, is replaced.
    let real = path.canonicalize().map_err(io)?;
    let text = std::fs::read_to_string(&real).map_err(io)?;
    let mut document: toml_edit::DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        Error::Syntax { path: path.to_path_buf(), message: error.to_string() }
    })?;
    let entry = document.get_mut("sites").and_then(|sites| sites.get_mut(site));
    let Some(entry) = entry.and_then(toml_edit::Item::as_table_like_mut) else {
        return Err(io(std::io::Error::other(format!("it has no section [sites.{site}] any more"))));
    };
    let rules = entry.entry("retention").or_insert(toml_edit::value(toml_edit::InlineTable::new()));
    let Some(rules) = rules.as_table_like_mut() else {
        return Err(io(std::io::Error::other(format!("sites.{site}.retention is no table"))));
    };
    rules.insert(area, toml_edit::value(rule.to_string()));
    let text = document.to_string();
    let config = Config::parse(&text, path)?;
    let mode = std::fs::metadata(&real).map_err(io)?.permissions().mode();
    volume::fs::write_atomic(&real, text.as_bytes())
        .map_err(|error| io(std::io::Error::other(error.to_string())))?;
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(mode)).map_err(io)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\n[beamline]\nid = \"8\" # the number\n[sites.a]\nkind = \"local\"\nroot = \"a\"\nraw = \"raw\"\n\
        scratch = \"scratch\"\n[sites.b]\nkind = \"local\"\nroot = \"b\"\nraw = \"raw\"\nretention = { raw = \"2 days\" }\n";

    #[test]
    fn every_value_says_where_it_comes_from() {
        let config = Config::parse(FILE, Path::new("/x/beamrail.toml")).unwrap();
        let all = config.effective(FILE);
        let of = |key: &str| {
            all.iter().find(|one| one.key == key).map(|one| (one.value.as_str(), &one.origin)).unwrap()
        };
        assert_eq!(of("beamline.id"), ("8", &Origin::File { line: 3 }));
        assert_eq!(of("sites.b.retention.raw"), ("2 days", &Origin::File { line: 13 }));
        assert_eq!(of("sites.a.retention.raw"), ("never", &Origin::Default));
        assert_eq!(of("watch.quiet"), ("10 seconds", &Origin::Default));
    }

    #[test]
    fn a_rule_is_written_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beamrail.toml");
        std::fs::write(&path, FILE).unwrap();
        let write =
            |site: &str, area: &str, rule: &str| write_retention(&path, site, area, &rule.parse().unwrap());
        write("a", "scratch", "3 days").unwrap();
        let config = write("b", "raw", "4 days after the copy at a is verified").unwrap();
        assert_eq!(config.sites["a"].areas["scratch"].retention.to_string(), "3 days");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("# ours") && text.contains("id = \"8\" # the number"), "{text}");
        assert!(text.contains("retention = { raw = \"4 days after the copy at a is verified\" }"), "{text}");
        for (site, area, rule) in [
            ("b", "scratch", "1 day"),
            ("c", "raw", "1 day"),
            ("b", "raw", "1 day after the copy at c is verified"),
        ] {
            assert!(write(site, area, rule).is_err(), "{site} {area} {rule}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "what is wrong is not written");
        assert!(config.retention_is_open("a", "scratch").is_ok());
        assert!(config.retention_is_open("a", "raw").unwrap_err().contains("for good"));
    }
}
