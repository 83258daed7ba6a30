//! Runs that people and programs of ours start: made in Prefect, as those of a flow's deployment, for operators to see and
//! workers to take. Commands, pages and the outbox make them here.

use std::time::Duration;

use async_trait::async_trait;
use beamline::config::Config;
use beamline::{NotStarted, Ordered, Starts};
use engine::NewRun;
use prefect::{Client, FlowRun, NewFlowRun, Patience, Proposal, StateType};
use uuid::Uuid;

use crate::bridge::local_id;
use crate::error::{Error, Result};

/// Makes the run of the flow's deployment.
pub(crate) async fn make(client: &Client, config: &Config, flow: &str, new: NewRun) -> Result<FlowRun> {
    let (flow, name) = config.deployment_of(flow);
    let found = client.deployment(&flow, &name).await?;
    let deployment = found.ok_or(Error::NoDeployment { flow, name })?;
    let run = NewFlowRun {
        name: new.name,
        parameters: new.parameters,
        idempotency_key: new.idempotency_key,
        tags: new.tags,
        state: new.at.map(|at| Proposal::new(StateType::Scheduled).at(at)),
        ..NewFlowRun::default()
    };
    Ok(client.run_deployment(deployment.id, &run).await?)
}

/// Starts runs while somebody waits for the answer.
pub struct PrefectStarts {
    client: Client,
    config: Config,
}

impl PrefectStarts {
    /// On this server. A person waits: a server that is away is told of after seconds.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(client: &Client, config: &Config) -> Result<Self> {
        let patience =
            Patience { tries: 5, first: Duration::from_millis(200), longest: Duration::from_secs(1) };
        let client = Client::new(client.settings().clone().patience(patience))?;
        Ok(Self { client, config: config.clone() })
    }

    /// The client, which gives up after seconds.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes the run of the flow's deployment. The same key gives the same run.
    ///
    /// # Errors
    /// What the server says; there is no such deployment.
    pub async fn make(&self, flow: &str, new: NewRun) -> Result<FlowRun> {
        make(&self.client, &self.config, flow, new).await
    }

    /// The run's page in the server's interface.
    ///
    /// # Errors
    /// The server does not say which version it is.
    pub async fn page(&self, run: Uuid) -> Result<String> {
        let api = self.client.settings().api.as_str().trim_end_matches('/');
        let root = api.strip_suffix("/api").unwrap_or(api);
        // 3.x moved the pages of runs.
        let is_three = self.client.version().await?.has_events();
        Ok(format!("{root}/{}/{run}", if is_three { "runs/flow-run" } else { "flow-runs/flow-run" }))
    }

    async fn told(&self, run: FlowRun) -> Result<Ordered> {
        Ok(Ordered {
            run: local_id(&run),
            there: run.id.to_string(),
            page: self.page(run.id).await?,
            state: run.state.as_ref().map(|state| state.label().to_owned()).unwrap_or_default(),
            name: run.name,
        })
    }
}

#[async_trait]
impl Starts for PrefectStarts {
    async fn start(&self, flow: &str, new: NewRun) -> std::result::Result<Ordered, NotStarted> {
        let made = self.make(flow, new).await.map_err(explained)?;
        self.told(made).await.map_err(explained)
    }

    async fn seen(&self, there: &str) -> std::result::Result<Ordered, NotStarted> {
        let unknown = || NotStarted { why: "Prefect has no such run".to_owned(), retry_helps: false };
        let id: Uuid = there.parse().map_err(|_| unknown())?;
        let found = self.client.flow_run(id).await.map_err(|error| explained(error.into()))?;
        self.told(found.ok_or_else(unknown)?).await.map_err(explained)
    }
}

fn explained(error: Error) -> NotStarted {
    NotStarted { why: error.to_string(), retry_helps: error.retry_helps() }
}
