//! What Prefect knows besides runs: settings and secrets of operators (block, then variable, whichever way their names are
//! spelled), who holds custody, which deletions were cancelled or moved, and which scans are export-controlled.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use beamline::identity::Identity;
use beamline::prune_tag;
use beamline::settings::{Given, SECRETS, Scheduled, Source};
use custody::ScanName;
use jiff::Timestamp;
use prefect::{Client, FlowRun, Patience, Secret, StateType};
use serde_json::json;

use crate::error::Result;
use crate::owner::owner;

/// Settings in Prefect, as a state folder sees them.
pub struct PrefectSettings {
    client: Client,
    mark: String,
}

impl PrefectSettings {
    /// On this server, for the state folder with this mark. The server is asked less patiently than for runs: deletions
    /// wait for the answer, and can wait longer.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(client: &Client, mark: impl Into<String>) -> Result<Self> {
        let patience =
            Patience { tries: 6, first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let settings = client.settings().clone().patience(patience).timeout(Duration::from_secs(20));
        Ok(Self { client: Client::new(settings)?, mark: mark.into() })
    }

    /// The secrets that are there, by the names of the variables of the environment whose place they take.
    ///
    /// # Errors
    /// What the server says.
    pub async fn secrets(&self) -> Result<BTreeMap<String, Secret>> {
        let mut found = BTreeMap::new();
        for (name, variable) in SECRETS {
            if let Some(secret) = self.client.secret(name).await? {
                found.insert(variable.to_owned(), secret);
            }
        }
        Ok(found)
    }

    /// What the newest of the runs that were to delete something says about it.
    async fn of_its_run(&self, site: &str, path: &str) -> prefect::Result<Option<String>> {
        let filter = json!({ "flow_runs": { "tags": { "all_": [prune_tag(site, path)] } } });
        let runs = self.client.flow_runs(filter).await?;
        Ok(runs.iter().max_by_key(|run| run.created).and_then(|run| wish(run, Timestamp::now())))
    }

    /// A run of another host that works with the scan.
    async fn in_use(&self, scan: &ScanName) -> prefect::Result<Option<String>> {
        let types = ["PENDING", "RUNNING", "PAUSED", "CANCELLING"];
        let filter = json!({ "flow_runs": { "state": { "type": { "any_": types } } } });
        let runs = self.client.flow_runs(filter).await?;
        let elsewhere = |run: &&FlowRun| {
            run.infrastructure_pid.as_deref().is_some_and(|pid| !pid.ends_with(&self.mark))
                && is_about(run, scan)
        };
        Ok(runs.iter().find(elsewhere).map(|run| format!("run {} of another worker uses it", run.name)))
    }
}

/// Whether a run's parameters name the scan.
fn is_about(run: &FlowRun, scan: &ScanName) -> bool {
    let path = run.parameters.get("file_path").and_then(|path| path.as_str());
    path.and_then(|path| Identity::of_trigger(path).ok()).is_some_and(|identity| identity.name == *scan)
}

/// What a person made of the run that was to delete something.
fn wish(run: &FlowRun, now: Timestamp) -> Option<String> {
    let name = &run.name;
    let ordered = run.idempotency_key.as_deref().and_then(|key| key.rsplit_once('@'));
    let ordered = ordered.and_then(|(_, at)| at.parse::<Timestamp>().ok());
    match run.state_type()? {
        StateType::Cancelled | StateType::Cancelling => {
            Some(format!("run {name:?} was cancelled; retry that run, or remove it, to let it go"))
        }
        StateType::Paused => Some(format!("run {name:?} is paused")),
        StateType::Scheduled => {
            let due = run.next_scheduled_start_time?;
            // A second: servers keep times to the microsecond, people do not.
            let moved = ordered.is_none_or(|at| (due.as_second() - at.as_second()).abs() > 1);
            (due > now && moved).then(|| format!("run {name:?} was moved to {due}"))
        }
        _ => None,
    }
}

/// The deletion that a run is for.
fn scheduled(run: &FlowRun) -> Option<Scheduled> {
    let tag = |begin: &str| run.tags.iter().find_map(|tag| tag.strip_prefix(begin));
    let (site, path) = tag("delete ")?.split_once(':')?;
    Some(Scheduled {
        scan: Identity::in_area(&format!("{}.h5", tag("scan:")?)).ok()?.name,
        site: site.to_owned(),
        path: path.to_owned(),
        at: run.next_scheduled_start_time.or(run.expected_start_time)?,
    })
}

/// The variable that says that a scan is export-controlled.
fn export_mark(scan: &ScanName) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, scan.to_string().as_bytes());
    format!("beamrail_export_{}", id.as_simple())
}

#[async_trait]
impl Source for PrefectSettings {
    fn name(&self) -> String {
        format!("Prefect at {}", self.client.settings().api)
    }

    async fn read(&self, names: &[String]) -> std::result::Result<Given, String> {
        let mut given = Given::new();
        for name in names {
            if let Some(value) = self.client.setting(name).await.map_err(|error| error.to_string())? {
                given.insert(name.clone(), value);
            }
        }
        Ok(given)
    }

    async fn may_decide(&self) -> std::result::Result<(), String> {
        match owner(&self.client).await.map_err(|error| error.to_string())? {
            Some(owner) if owner.mark != self.mark => Err(format!(
                "custody is with {} since {}; what is deleted is decided there",
                owner.host, owner.since
            )),
            _ => Ok(()),
        }
    }

    async fn wants_kept(
        &self,
        scan: &ScanName,
        site: &str,
        path: &str,
    ) -> std::result::Result<Option<String>, String> {
        let look = async {
            match self.of_its_run(site, path).await? {
                Some(why) => Ok(Some(why)),
                None => self.in_use(scan).await,
            }
        };
        look.await.map_err(|error: prefect::Error| error.to_string())
    }

    async fn deletions(&self, limit: usize) -> std::result::Result<Vec<Scheduled>, String> {
        // Such a run is called "delete SITE: PATH"; its tags say the same for programs.
        let filter = json!({
            "flow_runs": { "name": { "like_": "delete " }, "state": { "type": { "any_": ["SCHEDULED"] } } },
            "sort": "NEXT_SCHEDULED_START_TIME_ASC",
        });
        let runs = self.client.first_flow_runs(filter, limit).await.map_err(|error| error.to_string())?;
        let mut found: Vec<Scheduled> = runs.iter().filter_map(scheduled).collect();
        found.sort_by_key(|one| one.at);
        Ok(found)
    }

    async fn is_controlled(&self, scan: &ScanName) -> std::result::Result<bool, String> {
        let found = self.client.variable(&export_mark(scan)).await.map_err(|error| error.to_string())?;
        Ok(found.is_some_and(|value| value.get("controlled").and_then(|one| one.as_bool()) != Some(false)))
    }

    async fn set_controlled(&self, scan: &ScanName) -> std::result::Result<(), String> {
        let value = json!({ "scan": scan.to_string(), "controlled": true });
        let made =
            self.client.create_variable(&export_mark(scan), &value, &["beamrail", "export-controlled"]).await;
        made.map(drop).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: serde_json::Value) -> FlowRun {
        serde_json::from_value(json!({
            "id": uuid::Uuid::nil(), "name": "delete alcf: a/b.h5", "flow_id": uuid::Uuid::nil(),
            "created": "2026-01-01T00:00:00Z", "idempotency_key": "prune:alcf:a/b.h5@2026-01-03T00:00:00Z",
            "parameters": { "file_path": "/global/raw/BLS-1_user/20230224_132553_shell.h5" },
            "next_scheduled_start_time": state["at"], "state": { "id": null, "type": state["type"], "name": "x",
                "timestamp": "2026-01-01T00:00:00Z", "state_details": {} },
        }))
        .unwrap()
    }

    #[test]
    fn a_cancelled_or_moved_deletion_is_a_wish() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let of = |state| wish(&run(state), now);
        assert!(of(json!({ "type": "CANCELLED" })).unwrap().contains("cancelled"));
        assert!(of(json!({ "type": "SCHEDULED", "at": "2026-01-05T00:00:00Z" })).unwrap().contains("moved"));
        assert_eq!(
            of(json!({ "type": "SCHEDULED", "at": "2026-01-03T00:00:00Z" })),
            None,
            "as it was ordered"
        );
        assert_eq!(
            of(json!({ "type": "SCHEDULED", "at": "2026-01-01T00:00:00Z" })),
            None,
            "moved to the past"
        );
        assert_eq!(of(json!({ "type": "RUNNING" })), None);
    }

    #[test]
    fn a_scheduled_deletion_is_known_by_its_tags() {
        let mut run = run(json!({ "type": "SCHEDULED", "at": "2026-01-05T00:00:00Z" }));
        assert_eq!(scheduled(&run), None, "without tags nobody knows what it deletes");
        run.tags = vec!["scan:BLS-1_user/foam".into(), prune_tag("alcf", "BLS-1_user/recfoam.zarr")];
        let found = scheduled(&run).unwrap();
        assert_eq!((found.scan.to_string().as_str(), found.site.as_str()), ("BLS-1_user/foam", "alcf"));
        assert_eq!((found.path.as_str(), found.at.as_second()), ("BLS-1_user/recfoam.zarr", 1_767_571_200));
    }

    #[test]
    fn a_run_is_about_the_scan_that_it_names() {
        let scan = Identity::of_trigger("BLS-1_user/20230224_132553_shell.h5").unwrap().name;
        let other = Identity::of_trigger("BLS-1_user/20230224_132554_shell.h5").unwrap().name;
        let run = run(json!({ "type": "RUNNING" }));
        assert!(is_about(&run, &scan) && !is_about(&run, &other));
        assert_ne!(export_mark(&scan), export_mark(&other));
    }
}
