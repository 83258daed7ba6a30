//! `beamrail globus setup`: everything that can be set up from here, and the words for what cannot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use beamline::config::{Config, FacilityKind};
use globus::compute::{Dialect, EndpointTemplate, Function};
use globus::flows::ReconstructionFlow;

use super::super::beam::BeamArgs;
use super::program::Brought;
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};

/// The names of the incumbent's `.env.example`.
const NAMES: [&str; 8] = [
    "GLOBUS_CLIENT_ID",
    "GLOBUS_CLIENT_SECRET",
    "GLOBUS_COMPUTE_CLIENT_ID",
    "GLOBUS_COMPUTE_CLIENT_SECRET",
    "GLOBUS_COMPUTE_ENDPOINT",
    "GLOBUS_RECONSTRUCTION_FUNC",
    "GLOBUS_FLOW_ID",
    "GLOBUS_IRIBETA_CGS_ENDPOINT",
];

/// Set up a facility of kind globus-compute
///
/// Checks the credentials, registers the runner function and writes its id to the configuration. With --flow, creates
/// the flow through which jobs then go, or brings it up to date; with --binary, brings a beamrail to the facility and asks it for its version; with --endpoint-config,
/// prints the configuration of the facility's endpoint.
#[derive(Debug, clap::Args)]
pub(super) struct Setup {
    /// The facility; needed where the configuration has several
    #[arg(value_name = "FACILITY")]
    facility: Option<String>,

    /// Create the Globus flow: reconstruct, then transfer out
    #[arg(long)]
    flow: bool,

    /// The program to bring to the facility (built by `make dist`)
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Where it goes, from the site's root
    #[arg(long, value_name = "PATH", default_value = "bin/beamrail", requires = "binary")]
    to: String,

    /// Print the endpoint's configuration in both layouts, and change nothing
    #[arg(long)]
    endpoint_config: bool,

    /// Shell lines before the endpoint's worker starts
    #[arg(
        long,
        value_name = "LINES",
        default_value = "module use /soft/modulefiles; module load conda; conda activate"
    )]
    worker_init: String,

    /// The login node's network interface that compute nodes reach, for the endpoint's configuration
    #[arg(long, value_name = "NAME", default_value = "bond0")]
    interface: String,

    /// Seconds to wait for the facility's answer
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    patience: u64,
}

pub(super) fn setup(beam: &BeamArgs, args: &Setup) -> Result<(), Failure> {
    let config = Config::load(beam.config.as_deref())?;
    let name = facility(&config, args.facility.as_deref())?;
    if args.endpoint_config {
        return output::print(&endpoint_config(&config, &name, args));
    }
    let mut table = Table::default();
    for name in NAMES {
        // Whether it is set, never what it is.
        table.row(name, if super::variable(name).is_some() { "set" } else { "not set" });
    }
    let (link, runtime) = (Arc::new(config.link()), super::runtime()?);
    let client = link.client()?;
    let user = runtime.block_on(client.auth().userinfo())?;
    table.row("client", user.text());

    let sites = config.storages(&link);
    let one = config.facilities.get(&name);
    let site = one.map(|one| one.site.clone()).unwrap_or_default();
    let storage = sites.get(&site).ok_or_else(|| Failure::usage(format!("facility {name} has no site")))?;
    let unset = |missing: String| {
        Failure::new(Exit::BadInput, format!("facility {name}: {missing} is not set"))
            .hint(format!("set {missing} in the environment of beamrail"))
    };
    let compute = config.globus_compute(&name, &link, storage).map_err(unset)?;
    let about = runtime.block_on(client.compute().endpoint(compute.endpoint()));
    let version = about.ok().and_then(|about| about.endpoint_version);
    table.row("endpoint", format!("{} {}", compute.endpoint(), version.clone().unwrap_or_default()));

    // A function that is configured and still there is kept; the source may have changed, so compare it.
    let wanted = Function::runner(Dialect::of(version.as_deref()));
    let code = wanted.body().get("function_code").cloned().unwrap_or_default();
    let configured = one.and_then(|one| one.more.get("function")).cloned();
    let known = match beamline::config::expand(configured.as_deref().unwrap_or_default(), super::variable) {
        Ok(id) if !id.is_empty() => {
            runtime.block_on(client.compute().function(&id)).ok().map(|found| (id, found))
        }
        _ => None,
    };
    match known.filter(|(_, found)| found.function_code.as_deref() == code.as_str()) {
        Some((id, _)) => {
            table.row("function", format!("{id}, as it should be"));
        }
        None => {
            let id = runtime.block_on(client.compute().register(&wanted))?;
            let by_variable = configured.filter(|text| text.contains("${"));
            match by_variable {
                // The file asks for a variable, so that is what has to change.
                Some(variable) => {
                    table.row("function", format!("{id}, registered; set {variable} to it"));
                }
                None => {
                    write_key(&config.path, &name, "function", &id)?;
                    table.row(
                        "function",
                        format!("{id}, registered and written to {}", config.path.display()),
                    );
                }
            }
        }
    }
    if args.flow {
        let configured = one.and_then(|one| one.more.get("flow")).map(String::as_str);
        let flow = make_flow(&runtime, client, &config, &name, configured)?;
        table.row("flow", flow.told);
        table.maybe("its scope", flow.scope);
    }
    if let Some(binary) = &args.binary {
        let brought =
            Brought { storage: storage.as_ref(), compute: &compute, config: &config, facility: &name };
        table.row("binary", brought.bring(&runtime, binary, &args.to, args.patience)?);
    }
    table.row("next", format!("beamrail check {name}"));
    output::print(&table.text())
}

/// The facility that is meant.
fn facility(config: &Config, named: Option<&str>) -> Result<String, Failure> {
    let all = config.facilities.iter().filter(|(_, one)| one.kind == FacilityKind::GlobusCompute);
    let names: Vec<&String> = all.map(|(name, _)| name).collect();
    match (named, names.as_slice()) {
        (Some(name), _) if names.iter().any(|one| *one == name) => Ok(name.to_owned()),
        (None, [only]) => Ok((*only).clone()),
        (Some(name), _) => Err(Failure::usage(format!("there is no facility {name} of kind globus-compute"))),
        (None, []) => Err(Failure::usage("the configuration has no facility of kind globus-compute")
            .hint("[facilities.polaris] kind = \"globus-compute\", site, site_root, endpoint")),
        (None, _) => Err(Failure::usage("there are several facilities of kind globus-compute; name one")),
    }
}

/// How the titles of flows begin that beamrail has made.
const OURS: &str = "beamrail";

/// A flow, and what became of it.
struct Made {
    told: String,
    scope: Option<String>,
}

/// Creates the flow that the facility names, or brings it up to date; a new one is written to the configuration.
fn make_flow(
    runtime: &tokio::runtime::Runtime,
    client: &globus::Globus,
    config: &Config,
    facility: &str,
    configured: Option<&str>,
) -> Result<Made, Failure> {
    let wanted = ReconstructionFlow::default();
    let document = wanted.document(format!("{OURS} {}: reconstruct and bring home", config.beamline.id));
    // What the facility says, else the flow of the environment, if that is ours.
    let known = match configured {
        Some(text) => beamline::config::expand(text, super::variable).ok(),
        None => super::variable("GLOBUS_FLOW_ID"),
    };
    let flows = client.flows();
    let found = match known {
        Some(id) => match runtime.block_on(flows.get(&id)) {
            Err(error) if error.is_not_found() => None,
            other => Some(other?),
        },
        None => None,
    };
    let (flow, what) = match found {
        Some(flow) if wanted.is_like(&flow) => (flow, "as it should be"),
        Some(flow) if flow.title.starts_with(OURS) => {
            (runtime.block_on(flows.update(&flow.id, &document))?, "brought up to date")
        }
        // Somebody works with it: the older set-up has its flow under the same variable.
        Some(flow) if configured.is_some() => {
            let what =
                format!("flow {} ({:?}) was not made by beamrail, and stays as it is", flow.id, flow.title);
            return Err(Failure::new(Exit::BadInput, what).hint(format!(
                "take flow out of [facilities.{facility}] and run this again: a new one is made"
            )));
        }
        _ => (runtime.block_on(flows.create(&document))?, "created"),
    };
    let told = match configured {
        Some(variable) if variable.contains("${") && what == "created" => {
            format!("{}, created; set {variable} to it", flow.id)
        }
        Some(text) if text == flow.id || text.contains("${") => format!("{}, {what}", flow.id),
        _ => {
            write_key(&config.path, facility, "flow", &flow.id)?;
            format!("{}, {what} and written to {}", flow.id, config.path.display())
        }
    };
    Ok(Made { told, scope: flow.globus_auth_scope })
}

/// The endpoint's configuration, as text with instructions.
fn endpoint_config(config: &Config, name: &str, args: &Setup) -> String {
    let one = config.facilities.get(name);
    let text = |key: &str, usual: &str| {
        one.and_then(|one| one.more.get(key)).cloned().unwrap_or_else(|| usual.to_owned())
    };
    let seconds = one.map_or(3600, |one| one.walltime.as_seconds().max(60));
    let template = EndpointTemplate {
        name: format!("beamrail {}", config.beamline.id),
        account: text("account", "YOUR_PROJECT"),
        queue: text("queue", "YOUR_QUEUE"),
        filesystems: text("filesystems", "home:eagle"),
        nodes: text("nodes", "1").parse().unwrap_or(1),
        walltime: format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        interface: args.interface.clone(),
        worker_init: args.worker_init.clone(),
    };
    let (whole, user) = template.split();
    format!(
        "# At the facility, as the endpoint's user:\n\
         #   export GLOBUS_COMPUTE_CLIENT_ID=... GLOBUS_COMPUTE_CLIENT_SECRET=...\n\
         #   globus-compute-endpoint configure beamrail   (then put the files below into ~/.globus_compute/beamrail)\n\
         #   globus-compute-endpoint start beamrail\n\
         #   globus-compute-endpoint list                 (its id is the facility's endpoint)\n\n\
         # ---- endpoint 4.x: config.yaml\n{whole}\n\
         # ---- endpoint 4.x: user_config_template.yaml.j2\n{user}\n\
         # ---- endpoint before 4.0: config.yaml, all in one\n{}",
        template.single()
    )
}

/// Sets `key` in `[facilities.NAME]`, leaving everything else of the file as it is.
pub(super) fn write_key(path: &Path, facility: &str, key: &str, value: &str) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::new(Exit::Failed, format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let header = format!("[facilities.{facility}]");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let start = lines.iter().position(|line| line.trim() == header).ok_or_else(|| {
        Failure::new(Exit::BadInput, format!("{}: {header} is not on a line of its own", path.display()))
            .hint(format!("add {key} = \"{value}\" by hand"))
    })?;
    let end = lines.iter().skip(start + 1).position(|line| line.trim_start().starts_with('['));
    let end = end.map_or(lines.len(), |end| start + 1 + end);
    let is_key = |line: &String| line.split('=').next().is_some_and(|name| name.trim() == key);
    let line = format!("{key} = \"{value}\"");
    match (start + 1..end).find(|at| lines.get(*at).is_some_and(is_key)) {
        Some(at) => lines.splice(at..=at, [line]).for_each(drop),
        None => lines.insert(start + 1, line),
    }
    let new = lines.join("\n") + "\n";
    // What would not be read again is not written.
    Config::parse(&new, path)?;
    let temporary = path.with_extension("toml.new");
    std::fs::write(&temporary, new).map_err(fail)?;
    std::fs::rename(&temporary, path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_written_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("beamrail.toml");
        let text = "# mine\n[beamline]\nid = \"8.3.2\"\n[sites.a]\nkind = \"local\"\nroot = \"a\"\nraw = \"raw\"\n\
                    [facilities.p]\nkind = \"globus-compute\" # here\nsite = \"a\"\nendpoint = \"e\"\n\n[watch]\nquiet = \"9 s\"\n";
        std::fs::write(&path, text).unwrap();
        write_key(&path, "p", "function", "one").unwrap();
        write_key(&path, "p", "function", "two").unwrap();
        let expected = text.replace("[facilities.p]\n", "[facilities.p]\nfunction = \"two\"\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert!(write_key(&path, "q", "function", "x").is_err());
    }
}
