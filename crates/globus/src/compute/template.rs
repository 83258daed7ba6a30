//! The endpoint's configuration at a PBS machine, in both layouts: one file as endpoints before 4.0 took it, and the
//! split form that 4.x demands.

/// What differs between machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointTemplate {
    /// What people see.
    pub name: String,
    /// The project that is charged.
    pub account: String,
    /// The queue.
    pub queue: String,
    /// "home:eagle"
    pub filesystems: String,
    /// Nodes of one job of the batch system.
    pub nodes: u32,
    /// "01:00:00"
    pub walltime: String,
    /// The network interface of a login node that the compute nodes reach: "bond0"
    pub interface: String,
    /// Shell lines before the worker starts: modules, environment, PATH.
    pub worker_init: String,
}

impl EndpointTemplate {
    /// `config.yaml` as it was before 4.0.
    pub fn single(&self) -> String {
        format!("display_name: {}\n{}", quoted(&self.name), self.engine())
    }

    /// `config.yaml` and `user_config_template.yaml.j2`, from 4.0 on.
    pub fn split(&self) -> (String, String) {
        (
            format!("display_name: {}\n", quoted(&self.name)),
            format!("idle_heartbeats_soft: 10\n{}", self.engine()),
        )
    }

    /// The engine, the same in both. One worker a node: a reconstruction uses all of it.
    fn engine(&self) -> String {
        let Self { nodes, .. } = self;
        let account = quoted(&self.account);
        let queue = quoted(&self.queue);
        let scheduler = quoted(&format!("#PBS -l filesystems={}", self.filesystems));
        let walltime = quoted(&self.walltime);
        let interface = quoted(&self.interface);
        let init = quoted(&self.worker_init);
        format!(
            "engine:
  type: GlobusComputeEngine
  max_retries_on_system_failure: 2
  max_workers_per_node: 1
  prefetch_capacity: 0
  address:
    type: address_by_interface
    ifname: {interface}
  strategy: simple
  job_status_kwargs:
    max_idletime: 300
    strategy_period: 60
  provider:
    type: PBSProProvider
    launcher:
      type: MpiExecLauncher
      bind_cmd: --cpu-bind
      overrides: --depth=64 --ppn 1
    account: {account}
    queue: {queue}
    cpus_per_node: 64
    select_options: ngpus=4
    scheduler_options: {scheduler}
    worker_init: {init}
    walltime: {walltime}
    nodes_per_block: {nodes}
    init_blocks: 0
    min_blocks: 0
    max_blocks: 2
"
        )
    }
}

/// A text as YAML reads it, whatever is in it: JSON's quotes are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_hold_the_same_engine_and_the_new_strategy() {
        let template = EndpointTemplate {
            name: "beamrail".into(),
            account: "IRIBeta".into(),
            queue: "demand".into(),
            filesystems: "home:eagle".into(),
            nodes: 1,
            walltime: "01:00:00".into(),
            interface: "bond0".into(),
            worker_init: "module use /soft/modulefiles; export PATH=\"/x:$PATH\"".into(),
        };
        let (config, user) = template.split();
        assert!(!config.contains("engine"), "4.x does not start with an engine in config.yaml");
        for text in [template.single(), user] {
            for line in [
                "  strategy: simple\n",
                "    max_idletime: 300\n    strategy_period: 60\n",
                "      type: MpiExecLauncher\n",
                "    account: \"IRIBeta\"\n",
                "  address:\n    type: address_by_interface\n    ifname: \"bond0\"\n",
                "    walltime: \"01:00:00\"\n",
                "    scheduler_options: \"#PBS -l filesystems=home:eagle\"\n",
                "export PATH=\\\"/x:$PATH\\\"",
            ] {
                assert!(text.contains(line), "{line} is not in\n{text}");
            }
        }
    }
}
