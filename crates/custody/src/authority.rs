//! Settings that are kept elsewhere. Where operators change days in a service, that service has the last word: while it
//! is silent, nobody knows what it would say, and nothing is deleted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ledger::{Event, Line, Refusal};
use crate::reason::Reason;
use crate::records::CopyId;
use crate::settings::Settings;
use crate::store::Db;
use crate::{Custody, Error, Result};

/// The name in the database.
const KEY: &str = "authority";

/// A place where settings are kept besides the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Which: "Prefect at http://host:4200/api".
    pub source: String,
    /// What it said last.
    pub given: Value,
    /// When it was heard last.
    pub heard: Option<Timestamp>,
    /// Why it could not be heard at the last try; `None`: it was.
    pub silent: Option<String>,
}

impl Custody {
    /// Settings were read at `source`. From now on nothing is deleted unless they were read not long ago.
    pub fn authority_heard(&self, source: &str, given: &Value, now: Timestamp) -> Result<()> {
        self.write("note what settings say", now, |db| {
            let before = db.authority()?;
            let fresh =
                Authority { source: source.to_owned(), given: given.clone(), heard: Some(now), silent: None };
            db.set_authority(&fresh)?;
            let standing = before.as_ref().filter(|before| before.source == source);
            match standing {
                Some(before) if before.silent.is_none() => Ok(()),
                Some(_) => db.note(now, Event::SettingsHeard, format!("{source} answers again")),
                None => db.note(now, Event::SettingsHeard, format!("settings are kept in {source}")),
            }
        })
    }

    /// Settings could not be read at `source`, or cannot be understood, or are not for us to act on: nothing is deleted
    /// until that ends. `given`: what was read all the same.
    pub fn authority_silent(
        &self,
        source: &str,
        why: &str,
        given: Option<&Value>,
        now: Timestamp,
    ) -> Result<()> {
        self.write("note that settings are not known", now, |db| {
            let before = db.authority()?.filter(|before| before.source == source);
            let was_silent = before.as_ref().is_some_and(|before| before.silent.is_some());
            let fresh = Authority {
                source: source.to_owned(),
                given: given.or(before.as_ref().map(|before| &before.given)).cloned().unwrap_or_default(),
                heard: before.and_then(|before| before.heard),
                silent: Some(why.to_owned()),
            };
            db.set_authority(&fresh)?;
            if was_silent {
                return Ok(());
            }
            db.note(
                now,
                Event::SettingsSilent,
                format!("{source}: {why}; nothing is deleted until it is known"),
            )
        })
    }

    /// Writes down that a copy stays because somebody elsewhere wants it to.
    pub fn keep_back(&self, id: CopyId, source: &str, why: &str, now: Timestamp) -> Result<Refusal> {
        self.write("note that a copy stays", now, |db| {
            let record = db.copy(id)?;
            let reasons = vec![Reason::KeptElsewhere { source: source.to_owned(), why: why.to_owned() }];
            let (dataset, place) = (record.dataset, record.site);
            let refusal = Refusal { action: "deletion".into(), dataset, place, reasons };
            db.refuse(now, refusal.clone(), record.base.as_str(), json!({ "copy": id }))?;
            Ok(refusal)
        })
    }

    /// The configuration alone says what holds.
    pub fn authority_ends(&self, who: &str, now: Timestamp) -> Result<()> {
        if self.authority()?.is_none() {
            return Ok(());
        }
        self.write("end what settings say", now, |db| {
            db.run("DELETE FROM meta WHERE key = ?", [KEY])?;
            db.note(now, Event::SettingsHeard, format!("settings are kept in the configuration ({who})"))
        })
    }

    /// Where settings are kept besides the configuration.
    pub fn authority(&self) -> Result<Option<Authority>> {
        self.read("read what settings say", |db| db.authority())
    }
}

impl Db<'_> {
    fn authority(&self) -> Result<Option<Authority>> {
        let Some(text) = self.meta(KEY)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|e| Error::damaged("authority", e))
    }

    fn set_authority(&self, authority: &Authority) -> Result<()> {
        let text = serde_json::to_string(authority).map_err(|e| Error::damaged("authority", e))?;
        self.set_meta(KEY, &text)
    }

    fn note(&self, now: Timestamp, event: Event, text: String) -> Result<()> {
        self.ledger(now, event, Line { text, detail: json!({}), ..Line::default() })
    }

    /// What speaks against a deletion while settings are not known.
    pub(crate) fn unknown_settings(&self, settings: &Settings, now: Timestamp) -> Result<Option<Reason>> {
        let Some(authority) = self.authority()? else { return Ok(None) };
        let Authority { source, heard, silent, .. } = authority;
        let fresh = heard.is_some_and(|heard| settings.evidence_valid.after(heard) >= now);
        Ok(match silent {
            Some(why) => Some(Reason::SettingsUnknown { source, why }),
            None if fresh => None,
            None => Some(Reason::SettingsUnknown { source, why: "they were not read lately".to_owned() }),
        })
    }
}
