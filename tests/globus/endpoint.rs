//! A real globus-compute-endpoint behind a RabbitMQ of its own, for one test. Both end with it, also when it is killed.
//!
//! First [`begin`], for the broker; then the stand-in with [`Services::config`]; then [`Services::start`].

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use standin::globus::{Compute, Config};
use tempfile::TempDir;

const BROKER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// The endpoint asks there, whatever it is told: its code has the port of a local web service in it.
const PORT: u16 = 5000;
pub const ENDPOINT: &str = "55555555-5555-4555-8555-555555555555";

/// Where an endpoint gets its workers from.
pub enum Workers {
    /// Processes of this machine.
    Local,
    /// Jobs of a batch system that does at once what `qsub` and `mpiexec` are asked, by the two files of an
    /// endpoint's configuration: `config.yaml` and the template.
    Pbs(String, String),
}

const LOCAL: &str = "idle_heartbeats_soft: 0
heartbeat_period: 5
engine:
  type: GlobusComputeEngine
  max_workers_per_node: 1
  encrypted: false
  address: 127.0.0.1
  provider: {type: LocalProvider, init_blocks: 1, min_blocks: 0, max_blocks: 1}
";

/// The commands of a batch system.
const COMMANDS: [(&str, &str); 4] = [
    ("qsub", include_str!("pbs/qsub")),
    ("qstat", include_str!("pbs/qstat")),
    ("qdel", include_str!("pbs/qdel")),
    ("mpiexec", include_str!("pbs/mpiexec")),
];

/// A process with everything that it has started, which is ended with it: everything that has this folder
/// in its environment is ours.
struct Family {
    child: Child,
    mark: PathBuf,
    watch: Child,
}

/// Ends the family if the test is killed, and cannot do it itself.
const WATCH: &str = r#"
while kill -0 "$1" 2>/dev/null; do sleep 1; done
kill -9 "-$3" 2>/dev/null
for file in /proc/[0-9]*/environ; do
    pid=${file#/proc/}
    pid=${pid%/environ}
    grep -q -F "$2" "$file" 2>/dev/null && kill -9 "$pid"
done"#;

impl Family {
    fn new(child: Child, mark: PathBuf) -> Self {
        let me = std::process::id().to_string();
        let mut watch = Command::new("sh");
        watch.args(["-c", WATCH, "watch", &me]).arg(&mark).arg(child.id().to_string());
        let watch = watch.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn().unwrap();
        Self { child, mark, watch }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let _ = self.watch.kill();
        let _ = self.watch.wait();
        let mark = self.mark.to_string_lossy().into_owned();
        for signal in ["-TERM", "-KILL"] {
            let end = Instant::now() + Duration::from_secs(if signal == "-TERM" { 10 } else { 2 });
            let mut sent = false;
            loop {
                let _ = self.child.try_wait();
                let ours = members(&mark, self.child.id());
                if ours.is_empty() {
                    return;
                }
                if !sent {
                    let _ = Command::new("kill").arg(signal).args(&ours).stderr(Stdio::null()).status();
                    sent = true;
                }
                if Instant::now() > end {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Numbers of the living processes of this group, or whose environment names this folder: what makes itself a
/// daemon leaves the group, what gives itself a title loses its environment.
fn members(mark: &str, group: u32) -> Vec<String> {
    let me = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().into_string().ok());
    numbers
        .filter(|pid| pid.parse::<u32>().is_ok() && *pid != me)
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
            if fields.first().is_none_or(|state| *state == "Z") {
                return false;
            }
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            fields.get(2) == Some(&group.to_string().as_str())
                || String::from_utf8_lossy(&environment).contains(mark)
        })
        .collect()
}

/// The services around one stand-in.
pub struct Services {
    // Ended in this order: who waits for whom, and the folder last.
    endpoint: Option<Family>,
    _broker: Family,
    amqp: String,
    bin: PathBuf,
    folder: TempDir,
    _turn: File,
}

/// Waits for its turn and starts a broker; `None`, with the word why, where something is not installed.
pub fn begin() -> Option<Services> {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/globus-sdk/bin");
    if !bin.join("globus-compute-endpoint").exists() {
        println!("skipped: globus-compute-endpoint is not in .tools/globus-sdk; run make judges");
        return None;
    }
    if !Path::new(BROKER).exists() {
        println!("skipped: RabbitMQ is not installed (apt-get install rabbitmq-server)");
        return None;
    }
    // One at a time, whoever runs them: there is one such port.
    let turn = File::create(std::env::temp_dir().join("beamrail-test-port-5000.lock")).unwrap();
    turn.lock().unwrap();
    if TcpListener::bind(("127.0.0.1", PORT)).is_err() {
        println!("skipped: port {PORT}, which the endpoint has built in, is taken");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (broker, amqp) = broker(folder.path());
    Some(Services { endpoint: None, _broker: broker, amqp, bin, folder, _turn: turn })
}

impl Services {
    /// A stand-in that speaks to the endpoint.
    pub fn config(&self, config: Config) -> Config {
        let compute = Compute::Amqp { url: self.amqp.clone(), python: self.bin.join("python") };
        config.listen(([127, 0, 0, 1], PORT).into()).endpoint(ENDPOINT).compute(compute)
    }

    /// A folder for what the test needs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What comes before `/usr/bin` on the PATH of endpoint and workers.
    pub fn path(&self) -> String {
        format!("{}:{}:/usr/bin:/bin", self.folder().join("pbs").display(), self.bin.display())
    }

    /// Configures and starts the endpoint with the stand-in at `url`.
    pub fn start(&mut self, url: &str, client: (&str, &str), workers: &Workers) {
        let home = self.folder().join("endpoint");
        let user = home.join("gc/demo");
        std::fs::create_dir_all(&home).unwrap();
        let run = |words: &[&str]| {
            let mut command = as_somebody(&self.bin.join("globus-compute-endpoint"));
            command
                .args(words)
                .env_clear()
                .env("PATH", self.path())
                .env("HOME", &home)
                .env("USER", "nobody")
                .env("LANG", "C.UTF-8")
                .env("GLOBUS_COMPUTE_USER_DIR", home.join("gc"))
                .env("GLOBUS_SDK_ENVIRONMENT", "local")
                .env("GLOBUS_SDK_SERVICE_URL_AUTH", format!("{url}/"))
                .env("GLOBUS_SDK_SERVICE_URL_COMPUTE", format!("{url}/"))
                .env("GLOBUS_COMPUTE_CLIENT_ID", client.0)
                .env("GLOBUS_COMPUTE_CLIENT_SECRET", client.1)
                .current_dir(&home)
                .stdin(Stdio::null());
            command
        };
        let configured = run(&["configure", "demo"]).output().unwrap();
        assert!(configured.status.success(), "{}", String::from_utf8_lossy(&configured.stderr));
        let template = match workers {
            Workers::Local => LOCAL,
            Workers::Pbs(config, template) => {
                self.batch_system();
                std::fs::write(user.join("config.yaml"), config).unwrap();
                template
            }
        };
        std::fs::write(user.join("user_config_template.yaml.j2"), template).unwrap();
        // The user endpoint is started with this environment, not with ours.
        let path = self.path();
        let variables =
            format!("PATH: {path}\nHOME: {}\nLANG: C.UTF-8\nGLOBUS_SDK_ENVIRONMENT: local\n", home.display());
        std::fs::write(user.join("user_environment.yaml"), variables).unwrap();
        let log = File::create(home.join("out")).unwrap();
        let mut command = run(&["start", "--debug", "demo"]);
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.endpoint = Some(Family::new(command.spawn().unwrap(), home));
    }

    /// Ends the endpoint, while the stand-in that it asks is still there.
    pub fn stop(&mut self) {
        self.endpoint = None;
    }

    fn batch_system(&self) {
        let bin = self.folder().join("pbs");
        std::fs::create_dir_all(&bin).unwrap();
        for (name, text) in COMMANDS {
            std::fs::write(bin.join(name), text).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// What the batch system was asked, a line a command, and the script of the last job.
    pub fn batch(&self) -> (String, String) {
        let read = |name: &str| std::fs::read_to_string(self.folder().join("pbs").join(name)).unwrap();
        (read("calls"), read("jobs/last.pbs"))
    }

    /// Everything that endpoint and broker have said, for a failing test.
    pub fn told(&self) -> String {
        let (mut text, mut folders) = (String::new(), vec![self.folder().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
                if path.is_dir() {
                    folders.push(path);
                } else if name.starts_with("out") || name.ends_with(".log") || name.contains("stderr") {
                    let all = std::fs::read_to_string(&path).unwrap_or_default();
                    let lines: Vec<&str> = all.lines().collect();
                    let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
                    text += &format!("== {}\n{tail}\n", path.display());
                }
            }
        }
        text
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a broker in `folder`; gives it with its URL.
fn broker(folder: &Path) -> (Family, String) {
    let home = folder.join("rabbitmq");
    std::fs::create_dir_all(&home).unwrap();
    let port = free_port();
    let log = std::fs::File::create(home.join("out")).unwrap();
    let child = Command::new(BROKER)
        .env_clear()
        .env("PATH", "/usr/lib/rabbitmq/bin:/usr/bin:/bin")
        .env("HOME", &home)
        .env("LANG", "C.UTF-8")
        .env("RABBITMQ_NODENAME", format!("standin{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", free_port().to_string())
        .env("ERL_EPMD_PORT", free_port().to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_MNESIA_BASE", home.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", home.join("log"))
        .env("RABBITMQ_PID_FILE", home.join("pid"))
        .env("RABBITMQ_CONFIG_FILE", home.join("none"))
        .env("RABBITMQ_CONF_ENV_FILE", home.join("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    let mut family = Family::new(child, home.clone());
    let end = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = family.child.try_wait().unwrap();
        let told = std::fs::read_to_string(home.join("out")).unwrap_or_default();
        assert!(ended.is_none() && Instant::now() < end, "RabbitMQ did not start: {ended:?}\n{told}");
        std::thread::sleep(Duration::from_millis(200));
    }
    (family, format!("amqp://guest:guest@127.0.0.1:{port}/%2F"))
}

/// The endpoint refuses to run as root; in a user namespace of its own root is nobody.
fn as_somebody(program: &Path) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["-U", "--map-user=65534", "--map-group=65534", "--"]).arg(program);
    command
}
