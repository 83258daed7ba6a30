//! Writing a configuration: from a few answers, or from the files of the flows that beamrail takes over.
//!
//! What is written is TOML with comments, for people to go on with. It holds no secrets, and it is read back
//! before it is given out, so it is right.

mod incumbent;

use std::fmt::Write;
use std::path::Path;

use crate::config::{self, Config};

pub use incumbent::{Converted, from_incumbent};

/// Why there is nothing to write.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no YAML.
    #[error("this is not YAML: {reason}")]
    Yaml {
        /// The parser's words.
        reason: String,
    },
    /// It is YAML without what is needed.
    #[error("{what} is not in it; is it the flows' config.yml?")]
    Missing {
        /// What was looked for.
        what: &'static str,
    },
    /// What would be written is wrong.
    #[error("what would be written is not right: {0}")]
    Wrong(#[from] config::Error),
}

/// What is asked of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// "8.3.2"
    pub id: String,
    /// "America/Los_Angeles"
    pub time_zone: String,
    /// The data host's name as a site.
    pub site: String,
    /// Its folder.
    pub root: String,
    /// Raw scans in it.
    pub raw: String,
    /// Results in it.
    pub scratch: String,
    /// How long results stay: "30 days", "never".
    pub retention: String,
    /// Another place, seen by this host, that keeps a copy: name and folder.
    pub archive: Option<(String, String)>,
    /// What a reconstruction may use: "8 GiB".
    pub memory: Option<String>,
    /// Folders whose scans are export-controlled: "EC-*".
    pub controlled: Vec<String>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            id: "8.3.2".into(),
            time_zone: "America/Los_Angeles".into(),
            site: "data832".into(),
            root: "/data".into(),
            raw: "raw".into(),
            scratch: "scratch".into(),
            retention: "30 days".into(),
            archive: None,
            memory: None,
            controlled: Vec::new(),
        }
    }
}

/// A configuration of one host that stores and computes, with an archive perhaps.
///
/// # Errors
/// The answers do not make a right one.
pub fn write(answers: &Answers) -> Result<String, Error> {
    let mut toml = format!(
        "# A beamline. `beamrail check` says whether all that is named here is there.\n\n[beamline]\nid = {}\n\
         time_zone = {}\ndata_host = {}\n\n[state]\n# Journal of runs and records of copies: a disk of this host, \
         backed up.\nfolder = \"state\"\n",
        quoted(&answers.id),
        quoted(&answers.time_zone),
        quoted(&answers.site)
    );
    let raw_rule = match &answers.archive {
        Some((archive, _)) => format!(
            "\n# Never by default. With the copy at {archive} it could be\n# retention.raw = \"30 days after the copy at {archive} is verified\""
        ),
        None => String::new(),
    };
    add(
        &mut toml,
        format_args!(
            "\n[sites.{}]\nkind = \"local\"\nroot = {}\nraw = {}\nscratch = {}\nretention = {{ scratch = {} }}{raw_rule}\n",
            answers.site,
            quoted(&answers.root),
            quoted(&answers.raw),
            quoted(&answers.scratch),
            quoted(&answers.retention)
        ),
    );
    if let Some((name, root)) = &answers.archive {
        add(
            &mut toml,
            format_args!(
                "\n[sites.{name}]\nkind = \"local\"\nroot = {}\nraw = \"raw\"\nscratch = \"scratch\"\n",
                quoted(root)
            ),
        );
    }
    let memory =
        answers.memory.as_ref().map(|text| format!("memory = {}\n", quoted(text))).unwrap_or_default();
    add(
        &mut toml,
        format_args!(
            "\n[facilities.here]\nkind = \"local\"\nsite = {}\ncommand = \"beamrail\"\n{memory}slots = 1\n",
            quoted(&answers.site)
        ),
    );
    let archives: Vec<String> = answers.archive.iter().map(|(name, _)| quoted(name)).collect();
    add(
        &mut toml,
        format_args!(
            "\n# A new scan: where it goes, and a quick look first.\n[flows.new_832_file_flow]\nsend_to = [{}]\n\
         quick_look = \"here\"\n\n[flows.local_recon_flow]\nsource = {}\nfacility = \"here\"\nreturn_to = [{}]\n\
         recipe = \"default\"     # `beamrail recipes` lists them\n\n[flows.dispatcher]\nflows = \
         [\"new_832_file_flow\", \"local_recon_flow\"]\n\n[watch]\nflow = \"dispatcher\"\n",
            archives.join(", "),
            quoted(&answers.site),
            archives.join(", ")
        ),
    );
    add(
        &mut toml,
        format_args!(
            "\n[export]\n# Folders whose scans are export-controlled, and the sites at which those may be.\nfolders = {}\n\
         allowed_sites = [{}]\n",
            list(&answers.controlled),
            quoted(&answers.site)
        ),
    );
    add(&mut toml, format_args!("{}", schedules()));
    checked(toml)
}

/// What a beamline does by itself.
pub(super) fn schedules() -> &'static str {
    "\n# Deletion starts switched off: `beamrail prune plan` shows what would go, `beamrail prune on` lets it go.\n\
     [schedules.prune]\nflow = \"prune\"\ncron = \"0 3 * * *\"\n\n[schedules.reconcile]\nflow = \"reconcile\"\n\
     cron = \"0 4 * * *\"\n\n[schedules.transfer_check]\nflow = \"transfer_check\"\ncron = \"0 */12 * * *\"\n"
}

/// The text, if it is a right configuration.
pub(super) fn checked(toml: String) -> Result<String, Error> {
    Config::parse(&toml, Path::new("beamrail.toml"))?;
    Ok(toml)
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A TOML list of strings.
pub(super) fn list<S: AsRef<str>>(texts: &[S]) -> String {
    let all: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", all.join(", "))
}

/// Adds to a text. Writing to a text cannot fail.
pub(super) fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_make_a_right_configuration() {
        let toml = write(&Answers::default()).unwrap();
        let config = Config::parse(&toml, Path::new("/x/beamrail.toml")).unwrap();
        assert_eq!(config.sites["data832"].areas["scratch"].retention.to_string(), "30 days");
        let all = Answers {
            archive: Some(("tape".into(), "/mnt/tape \"a\"".into())),
            memory: Some("8 GiB".into()),
            controlled: vec!["EC-*".into()],
            ..Answers::default()
        };
        let config = Config::parse(&write(&all).unwrap(), Path::new("/x/beamrail.toml")).unwrap();
        assert_eq!(config.sites["tape"].root, Path::new("/mnt/tape \"a\""));
        assert_eq!(config.flows["local_recon_flow"].return_to, ["tape"]);
        assert!(config.schedules.contains_key("prune"));
        // A wrong answer is told, not written.
        let wrong = Answers { retention: "soon".into(), ..Answers::default() };
        assert!(write(&wrong).unwrap_err().to_string().contains("retention"));
    }
}
