//! The beamline as operators know it in Prefect: the names of flows and deployments that triggers, notebooks and
//! scripts have used for years, queues by kind of work, and what runs by itself.

use std::collections::BTreeMap;

use engine::{Deployment, Registry, Schedule, When};

use super::Config;
use crate::flows::CUSTODY_REPORT;

/// The queue of what only custody's owner does: pruning and reconciling.
pub const CUSTODY_QUEUE: &str = "custody";
/// The queues of a pool, the most urgent first: a new scan waits for no reconstruction, and nothing for a deletion.
const QUEUES: [(&str, u32); 3] = [("scans", 1), ("reconstructions", 2), (CUSTODY_QUEUE, 3)];
/// What goes on by itself where the configuration says nothing of it: the flight check every 12 hours, a look at the
/// disks and a sweep of what is due once a day.
const BY_ITSELF: [(&str, &str); 3] =
    [("transfer_check", "0 */12 * * *"), ("reconcile", "0 4 * * *"), ("prune", "0 3 * * *")];

/// A second name of `prune`, by which scripts ask for one path at one endpoint.
const PRUNE_BY_NAME: &str = "prune_globus_endpoint";

/// Whether a flow acts on custody's word alone, and so runs only where custody is.
pub fn is_custodial(flow: &str) -> bool {
    matches!(flow, "reconcile" | "prune" | CUSTODY_REPORT) || flow.starts_with("prune_")
}

impl Config {
    /// A flow's names in Prefect, flow and deployment.
    fn names(&self, flow: &str) -> (String, String) {
        let number: String = self.beamline.id.chars().filter(char::is_ascii_digit).collect();
        let same = |name: &str| (name.to_owned(), name.to_owned());
        match flow {
            "dispatcher" if !number.is_empty() => (flow.to_owned(), format!("run_{number}_dispatcher")),
            "new_832_file_flow" => (flow.to_owned(), "new_file_832".to_owned()),
            "transfer_check" if !number.is_empty() => {
                (format!("test_{number}_transfers"), format!("test_transfers_{number}"))
            }
            other => same(other),
        }
    }

    /// The flows that have other names in Prefect, by those.
    pub fn aliases(&self, registry: &Registry) -> BTreeMap<String, String> {
        let names = registry.iter().map(|flow| (self.names(flow.name()).0, flow.name().to_owned()));
        let more = [(PRUNE_BY_NAME.to_owned(), "prune".to_owned())];
        names.filter(|(there, here)| there != here).chain(more).collect()
    }

    /// The deployment of a flow in Prefect, "flow/deployment".
    pub fn deployment_of(&self, flow: &str) -> (String, String) {
        self.names(flow)
    }

    /// All deployments as they should be in Prefect. Their pool is "default" where `[prefect]` says it.
    pub fn prefect_deployments(&self, registry: &Registry) -> Vec<Deployment> {
        let mut all: Vec<Deployment> = self
            .deployments(registry)
            .into_iter()
            .map(|mut one| {
                let flow = one.flow.clone();
                if one.schedules.is_empty()
                    && let Some((_, cron)) = BY_ITSELF.iter().find(|(name, _)| *name == flow)
                {
                    let when = When::Cron {
                        expression: (*cron).to_owned(),
                        time_zone: self.beamline.time_zone.clone(),
                    };
                    one = one.schedule(Schedule::new(&flow, when));
                }
                one.queue = self.prefect_queue(&flow);
                one.tags = vec![format!("beamline {}", self.beamline.id)];
                (one.flow, one.name) = self.names(&flow);
                one
            })
            .collect();
        if let Some(prune) = all.iter().find(|one| one.flow == "prune").cloned() {
            let names = (PRUNE_BY_NAME.to_owned(), PRUNE_BY_NAME.to_owned());
            all.push(Deployment { flow: names.0, name: names.1, schedules: Vec::new(), ..prune });
        }
        all
    }

    fn prefect_queue(&self, flow: &str) -> String {
        let own = self.flows.get(flow).and_then(|flow| flow.queue.clone());
        let kind = match flow {
            flow if is_custodial(flow) => return CUSTODY_QUEUE.to_owned(),
            flow if flow.ends_with("_recon_flow") => "reconstructions",
            _ => "scans",
        };
        own.or_else(|| self.prefect.queue.clone()).unwrap_or_else(|| kind.to_owned())
    }

    /// The priorities of the queues that have one.
    pub fn prefect_priorities(&self) -> BTreeMap<String, u32> {
        QUEUES.iter().map(|(name, priority)| ((*name).to_owned(), *priority)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "[beamline]\nid = \"8.3.2\"\n[sites.als]\nkind = \"local\"\nroot = \"als\"\nraw = \"raw\"\n{more}"
        );
        Config::parse(&text, Path::new("/x/beamrail.toml")).unwrap()
    }

    #[test]
    fn names_that_triggers_have_used_for_years() {
        let config = config("");
        let name = |flow: &str| {
            let (flow, deployment) = config.names(flow);
            format!("{flow}/{deployment}")
        };
        assert_eq!(name("dispatcher"), "dispatcher/run_832_dispatcher");
        assert_eq!(name("new_832_file_flow"), "new_832_file_flow/new_file_832");
        assert_eq!(name("alcf_recon_flow"), "alcf_recon_flow/alcf_recon_flow");
        assert_eq!(name("transfer_check"), "test_832_transfers/test_transfers_832");
        assert_eq!(name("prune_alcf832_raw"), "prune_alcf832_raw/prune_alcf832_raw");
    }

    #[test]
    fn work_has_queues_and_custody_its_own() {
        let plain = config("");
        assert_eq!(plain.prefect.pool, "beamrail");
        assert_eq!(plain.prefect_queue("dispatcher"), "scans");
        assert_eq!(plain.prefect_queue("alcf_recon_flow"), "reconstructions");
        let one = config(
            "[prefect]\npool = \"test_pool\"\nqueue = \"bl832\"\n[flows.dispatcher]\nqueue = \"fast\"\n",
        );
        assert_eq!(one.prefect_queue("alcf_recon_flow"), "bl832");
        assert_eq!(one.prefect_queue("dispatcher"), "fast");
        assert_eq!(one.prefect_queue("prune_als_raw"), CUSTODY_QUEUE);
        let wrong =
            Config::parse("[beamline]\nid = \"8\"\n[prefect]\npol = \"a\"\n", Path::new("/x/beamrail.toml"));
        assert!(wrong.unwrap_err().to_string().contains("pool"));
    }
}
