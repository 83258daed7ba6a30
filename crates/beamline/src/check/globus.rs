//! `beamrail check` of what is behind Globus: read, write, rename and delete in a scratch folder of each collection,
//! endpoint, function, a worker's answer; each failure says who must do what.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use custody::{RelPath, SeenKind};
use globus::Scope;
use globus::compute::{Dialect, RUNNER_NAME};
use globus::flows::ReconstructionFlow;
use globus::transfer::{DeleteDocument, Notify};
use sites::{GlobusStorage, Link, Storage};

use super::{Depth, Looks, Verdict, own_version};
use crate::config::{Config, Facility, Site, expand};

/// The folder of checks, from the site's root: outside all areas.
const FOLDER: &str = ".beamrail/checks";
/// Asks a worker what it sees: the command's version, free KiB in the site's root, and limits where the file system
/// (Lustre) has a command that tells them.
const PROBE: &str = "cd \"$1\" || exit 9
echo \"free: $(df -Pk . | awk 'END { print $4 }')\"
if command -v lfs >/dev/null 2>&1; then lfs quota -q -u \"$(id -un)\" . 2>/dev/null | sed 's/^/quota: /'; fi
version=$(\"$0\" --version); ended=$?
echo \"version: $version\"
exit $ended
";
/// How long a deletion may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the checks share.
pub(super) struct Globe {
    link: Arc<Link>,
    depth: Depth,
}

/// Who has to do something, by what went wrong.
fn action(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((_, what)) => what.to_owned(),
        None => "operator: beamrail globus whoami, then do what it says".to_owned(),
    }
}

impl Globe {
    pub(super) fn new(config: &Config, depth: Depth) -> Self {
        Self { link: Arc::new(config.link()), depth }
    }

    /// Whether the credentials are there and accepted; without them nothing else is worth a look.
    async fn credentials(&self, looks: &mut Looks<'_>) -> bool {
        let user = match self.link.client() {
            Ok(client) => match client.auth().userinfo().await {
                Ok(user) => Ok((user, client.auth().ensure(&Scope::transfer()).await.ok())),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        match user {
            Ok((user, good)) => {
                looks.ok("credentials", user.text());
                if let Some(good) = good {
                    let hours = good.as_secs_f64() / 3600.0;
                    looks.ok("token", format!("good for {hours:.1} hours, then renewed by itself"));
                }
                self.pending(looks).await;
                true
            }
            Err(error) => {
                let what =
                    "operator: GLOBUS_CLIENT_ID and GLOBUS_CLIENT_SECRET in the environment of beamrail";
                looks.bad("credentials", Verdict::Fault, error, what);
                false
            }
        }
    }

    /// How much of what Globus lets wait is waiting.
    async fn pending(&self, looks: &mut Looks<'_>) {
        let Ok(client) = self.link.client() else { return };
        let most = client.settings().limits.pending_tasks;
        let what = "operator: beamrail globus task lists them; wait for some to end, or cancel some";
        match client.transfer().pending().await {
            Ok(pending) => {
                let found = format!("{pending} of {most} transfers that may wait");
                match pending {
                    few if few < most.saturating_mul(4) / 5 => looks.ok("transfer quota", found),
                    many if many < most => looks.bad("transfer quota", Verdict::Warning, found, what),
                    _ => looks.bad("transfer quota", Verdict::Fault, found, what),
                }
            }
            Err(error) => looks.bad("transfer quota", Verdict::Fault, error.to_string(), action(&error)),
        }
    }

    pub(super) async fn site(&self, config: &Config, name: &str, site: &Site, looks: &mut Looks<'_>) {
        let id = site.more.get("collection").map(String::as_str).unwrap_or_default();
        let id = match expand(id, |name| config.environment.get(name)) {
            Ok(id) => id,
            Err(missing) => {
                let said = format!("site {name}: {missing} is not set");
                let what = "operator: set it in the environment of beamrail";
                return looks.bad("environment", Verdict::Warning, said, what);
            }
        };
        let storage = GlobusStorage::new(name, self.link.clone(), id, site.root.to_string_lossy())
            .with_data_access(site.data_access);
        if !self.credentials(looks).await {
            return;
        }
        if !self.collection(&storage, site, looks).await {
            return;
        }
        let root = storage.stat(&RelPath::root()).await;
        match root {
            Ok(Some(found)) if found.kind == SeenKind::Folder => {
                looks.ok("root", site.root.display().to_string());
                // Whoever was let in has every consent that it takes.
                let kind = if site.data_access {
                    "data_access is granted"
                } else {
                    "none is needed beside the client's own"
                };
                looks.ok("consent", kind);
            }
            Ok(_) => {
                let found = format!("{} is no folder of the collection", site.root.display());
                return looks.bad("root", Verdict::Fault, found, "operator: correct root");
            }
            Err(error) => {
                let consent = matches!(&error, sites::Error::Globus(globus::Error::Consent(_)));
                let look = if consent { "consent" } else { "root" };
                return looks.bad(look, Verdict::Fault, error.to_string(), action(&error));
            }
        }
        self.room(config, name, site, looks);
        for (name, area) in &site.areas {
            match storage.stat(&area.path).await {
                Ok(Some(found)) if found.kind == SeenKind::Folder => {
                    looks.ok(&format!("{name} folder"), "is there")
                }
                Ok(None) => looks.ok(&format!("{name} folder"), "will be made"),
                Ok(Some(_)) => {
                    let what = format!("operator: make {name} a folder, and no link");
                    looks.bad(&format!("{name} folder"), Verdict::Fault, "it is not a folder", what);
                }
                Err(error) => {
                    looks.bad(&format!("{name} folder"), Verdict::Fault, error.to_string(), action(&error));
                }
            }
        }
        if self.depth.writes {
            self.rights(&storage, looks).await;
        }
    }

    /// How much fits there, as far as this host can see it.
    fn room(&self, config: &Config, name: &str, site: &Site, looks: &mut Looks<'_>) {
        match &site.local {
            Some(local) => super::local::space(local, looks),
            None => {
                let there = config.facilities.iter().find(|(_, one)| one.site == name);
                let found = match there {
                    Some((facility, _)) => {
                        format!("a collection tells none; beamrail check {facility} asks there")
                    }
                    None => {
                        "a collection tells none; a transfer that does not fit fails and says so".to_owned()
                    }
                };
                looks.ok("space", found);
            }
        }
    }

    /// What kind of collection it is, and whether that fits the configuration.
    async fn collection(&self, storage: &GlobusStorage, site: &Site, looks: &mut Looks<'_>) -> bool {
        let found = match self.link.client() {
            Ok(client) => {
                let found = client.transfer().endpoint(storage.collection()).await;
                found.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let endpoint = match found {
            Ok(endpoint) => endpoint,
            Err(error) => {
                looks.bad("collection", Verdict::Fault, error.clone(), action(&error));
                return false;
            }
        };
        if let Some(trouble) = endpoint.trouble() {
            looks.bad("collection", Verdict::Fault, endpoint.name(), trouble);
            return false;
        }
        let kind = endpoint.entity_type.clone().unwrap_or_default();
        looks.ok("collection", format!("{} ({kind})", endpoint.name()));
        let guest = kind.contains("guest");
        match (endpoint.wants_data_access(), site.data_access) {
            (true, false) => {
                let what = "operator: set data_access = true for the site";
                looks.bad("consent", Verdict::Fault, "a mapped collection needs data_access", what);
                false
            }
            (false, true) if guest => {
                let what = "operator: set data_access = false for the site";
                looks.bad("consent", Verdict::Fault, "a guest collection has no data_access scope", what);
                false
            }
            _ => {
                if endpoint.disable_verify == Some(true) {
                    let what = "its administrator: allow verification, or copies do not count";
                    looks.bad("checksums", Verdict::Fault, "transfers are not verified here", what);
                }
                true
            }
        }
    }

    /// Makes, writes, reads, renames and deletes in a folder of our own.
    async fn rights(&self, storage: &GlobusStorage, looks: &mut Looks<'_>) {
        let number = format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_millisecond());
        let tried: Result<&str, (&str, String)> = async {
            let path = |name: &str| RelPath::new(format!("{FOLDER}/{number}/{name}"));
            let folder =
                RelPath::new(format!("{FOLDER}/{number}")).map_err(|e| ("make a folder", e.to_string()))?;
            storage.make_folder(&folder).await.map_err(|e| ("make a folder", e.to_string()))?;
            let one = path("one").map_err(|e| ("write", e.to_string()))?;
            let two = path("two").map_err(|e| ("rename", e.to_string()))?;
            let mut done = "folder, rename, delete; no file was written, as no site has local = \"FOLDER\"";
            let content = number.as_bytes();
            match storage.write_small(&one, content).await {
                Ok(()) => {
                    let back = storage.read_small(&one, 1000).await.map_err(|e| ("read", e.to_string()))?;
                    if back != content {
                        return Err(("read", "what was read is not what was written".to_owned()));
                    }
                    done = "folder, write, read, rename, delete";
                }
                Err(sites::Error::NoExchange { .. }) => {
                    storage.make_folder(&one).await.map_err(|e| ("make a folder", e.to_string()))?;
                }
                Err(error) => return Err(("write", error.to_string())),
            }
            storage.rename(&one, &two).await.map_err(|e| ("rename", e.to_string()))?;
            self.delete(storage, &folder).await.map_err(|e| ("delete", e))?;
            Ok(done)
        }
        .await;
        match tried {
            Ok(done) => looks.ok("rights", done),
            Err((what, error)) => {
                looks.bad("rights", Verdict::Fault, format!("cannot {what}: {error}"), action(&error));
            }
        }
    }

    async fn delete(&self, storage: &GlobusStorage, folder: &RelPath) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let Place { id, path } = Place::of(storage, folder);
        let transfer = self.link.client().map_err(|e| text(&e))?.transfer();
        let submission = transfer.submission_id().await.map_err(|e| text(&e))?;
        let mut document = DeleteDocument::new(submission, id).notify(Notify::NONE);
        document.add(path);
        document.label = Some("beamrail check".into());
        (document.recursive, document.interpret_globs) = (Some(true), Some(false));
        let accepted = transfer.submit_delete(&document).await.map_err(|e| text(&e))?;
        let wait = transfer.wait(&accepted.task_id, |_| ());
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(task)) => match task.failure(&[]) {
                None => Ok(()),
                Some(failure) => Err(failure.to_string()),
            },
            Ok(Err(error)) => Err(text(&error)),
            Err(_) => Err("the deletion did not end; look at it with beamrail globus task".to_owned()),
        }
    }

    pub(super) async fn facility(&self, config: &Config, name: &str, one: &Facility, looks: &mut Looks<'_>) {
        let sites = config.storages(&self.link);
        let Some(site) = sites.get(&one.site) else { return };
        let compute = match config.globus_compute(name, &self.link, site) {
            Ok(compute) => compute,
            Err(missing) => {
                let what = format!("operator: set {missing} in the environment of beamrail");
                return looks.bad("environment", Verdict::Warning, format!("{missing} is not set"), what);
            }
        };
        if !self.credentials(looks).await {
            return;
        }
        let Ok(client) = self.link.client() else { return };
        let remote = client.compute();
        match remote.endpoint_status(compute.endpoint()).await {
            Ok(status) if status.is_online() => looks.ok("endpoint", "online"),
            Ok(status) => {
                let what = "the endpoint's user at the facility: globus-compute-endpoint start NAME";
                return looks.bad("endpoint", Verdict::Fault, status.status, what);
            }
            Err(error) => return looks.bad("endpoint", Verdict::Fault, error.to_string(), action(&error)),
        }
        if let Ok(about) = remote.endpoint(compute.endpoint()).await {
            let version = about.endpoint_version.unwrap_or_default();
            match Dialect::of(Some(&version)) {
                Dialect::Text => looks.ok("endpoint version", version),
                Dialect::Pickle => {
                    let found = format!("{version}, before 4.0; it is spoken to in pickles");
                    looks.bad("endpoint version", Verdict::Warning, found, "the endpoint's user: update it");
                }
            }
        }
        match compute.function().await {
            Ok(id) => match remote.function(&id).await {
                Ok(found) if found.function_name.as_deref() == Some(RUNNER_NAME) => looks.ok("function", id),
                Ok(found) => {
                    let found = format!("{id} is {}", found.function_name.unwrap_or_default());
                    let what = format!("operator: beamrail globus setup {name}");
                    return looks.bad("function", Verdict::Fault, found, what);
                }
                Err(error) => {
                    let what = format!("operator: beamrail globus setup {name}");
                    return looks.bad("function", Verdict::Fault, error.to_string(), what);
                }
            },
            Err(error) => return looks.bad("function", Verdict::Fault, error.to_string(), action(&error)),
        }
        if let Some(flow) = compute.flow()
            && !self.flow(name, flow, looks).await
        {
            return;
        }
        if let Some(patience) = self.depth.patience {
            self.worker(config, one, &compute, patience, looks).await;
        }
    }

    /// Whether the flow is there and does what this version expects of it.
    async fn flow(&self, facility: &str, id: &str, looks: &mut Looks<'_>) -> bool {
        let Ok(client) = self.link.client() else { return false };
        let what = format!("operator: beamrail globus setup {facility} --flow");
        match client.flows().get(id).await {
            Ok(flow) if ReconstructionFlow::default().is_like(&flow) => {
                looks.ok("flow", format!("{} ({id})", flow.title));
                true
            }
            Ok(flow) => {
                looks.bad("flow", Verdict::Fault, format!("{} ({id}) does something else", flow.title), what);
                false
            }
            Err(error) => {
                looks.bad("flow", Verdict::Fault, error.to_string(), what);
                false
            }
        }
    }

    /// Asks a worker for its Python, for the beamrail there, and whether it sees the site's root.
    async fn worker(
        &self,
        config: &Config,
        one: &Facility,
        compute: &sites::GlobusCompute,
        patience: Duration,
        looks: &mut Looks<'_>,
    ) {
        let root =
            one.site_root.clone().or_else(|| config.sites.get(&one.site).map(|site| site.root.clone()));
        let root = root.unwrap_or_default();
        let folder =
            format!("{}/check-{}-{}", one.jobs, std::process::id(), jiff::Timestamp::now().as_millisecond());
        let begun = Instant::now();
        let args = ["-c", PROBE, &one.command, &root.to_string_lossy()];
        let ran = compute.ask(&args, Path::new("/bin/sh"), &folder, patience).await;
        let ran = match ran {
            Ok(ran) => ran,
            Err(error) if error.retry_helps() => {
                let what = "nobody, if the queue is long: beamrail check --patience 3600 waits longer";
                return looks.bad("worker", Verdict::Warning, error.to_string(), what);
            }
            Err(error) => return looks.bad("worker", Verdict::Fault, error.to_string(), action(&error)),
        };
        let took = begun.elapsed().as_secs();
        looks.ok("worker", format!("Python {} on {}, after {took} s", ran.python, ran.host));
        let told = |mark: &'static str| {
            ran.stdout.lines().filter_map(move |line| line.strip_prefix(mark)).map(str::trim)
        };
        let version = told("version: ").next().unwrap_or_default().to_owned();
        let own = own_version();
        if let Some(free) = told("free: ").next().and_then(|text| text.parse::<u64>().ok()) {
            super::local::enough("site's space", free.saturating_mul(1024), looks);
        }
        // Lustre puts a star behind what is over a limit.
        let limits: Vec<&str> = told("quota: ").collect();
        match limits.iter().find(|line| line.contains('*')) {
            Some(over) => looks.bad(
                "quota",
                Verdict::Fault,
                format!("over its limit: {over}"),
                "operator: make room (beamrail prune plan), or ask the facility for more",
            ),
            None if limits.is_empty() => {}
            None => looks.ok("quota", limits.join(" ")),
        }
        match ran.rc {
            Some(0) if version == own => looks.ok("command", format!("{}: {version}", one.command)),
            Some(0) => looks.bad(
                "command",
                Verdict::Warning,
                format!("{}: {version}, and this is {own}", one.command),
                "operator: beamrail globus setup --binary FILE, with the same version",
            ),
            Some(9) => looks.bad(
                "site's root",
                Verdict::Fault,
                format!("jobs do not see {}", root.display()),
                "operator: correct site_root",
            ),
            rc => looks.bad(
                "command",
                Verdict::Fault,
                format!("{} does not run there: exit code {rc:?}, {}", one.command, ran.tail()),
                "operator: beamrail globus setup --binary FILE, then correct command",
            ),
        }
    }
}

/// A path of a collection.
struct Place {
    id: String,
    path: String,
}

impl Place {
    fn of(storage: &GlobusStorage, path: &RelPath) -> Self {
        let root = match storage.place() {
            sites::Place::Collection { root, .. } => root,
            _ => String::new(),
        };
        Self { id: storage.collection().to_owned(), path: format!("{}/{path}", root.trim_end_matches('/')) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// As a worker runs it, with a file system whose limits have a command, and one of them reached.
    #[test]
    fn a_worker_is_asked_for_space_limits_and_version() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        script("lfs", "echo \"$1 $2 $3: 1001* 1000 1000\"");
        let command = script("command", "echo beamrail 0.9; exit 5");
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let ask = |root: &Path| {
            let mut shell = std::process::Command::new("/bin/sh");
            let asked =
                shell.arg("-c").arg(PROBE).arg(&command).arg(root).env("PATH", &path).output().unwrap();
            (asked.status.code(), String::from_utf8(asked.stdout).unwrap())
        };
        let (code, text) = ask(folder.path());
        assert_eq!(code, Some(5));
        let lines: Vec<&str> = text.lines().collect();
        let free = lines[0].strip_prefix("free: ").unwrap().parse::<u64>().unwrap();
        assert!(free > 0 && lines[1].starts_with("quota: quota -q -u: 1001*"), "{text}");
        assert_eq!(lines[2], "version: beamrail 0.9");
        assert_eq!(ask(&folder.path().join("none")).0, Some(9));
    }
}
