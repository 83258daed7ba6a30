//! A real globus-compute-endpoint behind a RabbitMQ of its own, for one test.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{CLIENT, SECRET, tool};

const BROKER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A process with everything that it has started, which is ended with it: everything that has this folder
/// in its environment is ours.
pub struct Family {
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

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a broker in `folder`; gives it with its URL, or says why there is none.
pub fn broker(folder: &Path) -> Option<(Family, String)> {
    if !Path::new(BROKER).exists() {
        println!("skipped: RabbitMQ is not installed (apt-get install rabbitmq-server)");
        return None;
    }
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
    Some((family, format!("amqp://guest:guest@127.0.0.1:{port}/%2F")))
}

/// Configures and starts the endpoint with this engine block; `path` comes first on its PATH.
pub fn endpoint(folder: &Path, url: &str, provider: &str, path: &str) -> Option<Family> {
    let bin = tool("globus-sdk/bin/globus-compute-endpoint")?.parent().unwrap().to_owned();
    let home = folder.join("endpoint");
    std::fs::create_dir_all(&home).unwrap();
    let user = home.join("gc");
    let run = |words: &[&str]| {
        let mut command = as_somebody(&bin.join("globus-compute-endpoint"));
        command
            .args(words)
            .env_clear()
            .env("PATH", format!("{path}{}:/usr/bin:/bin", bin.display()))
            .env("HOME", &home)
            .env("USER", "nobody")
            .env("LANG", "C.UTF-8")
            .env("GLOBUS_COMPUTE_USER_DIR", &user)
            .env("GLOBUS_SDK_ENVIRONMENT", "local")
            .env("GLOBUS_SDK_SERVICE_URL_AUTH", format!("{url}/"))
            .env("GLOBUS_SDK_SERVICE_URL_COMPUTE", format!("{url}/"))
            .env("GLOBUS_COMPUTE_CLIENT_ID", CLIENT)
            .env("GLOBUS_COMPUTE_CLIENT_SECRET", SECRET)
            .current_dir(&home)
            .stdin(Stdio::null());
        command
    };
    let configured = run(&["configure", "demo"]).output().unwrap();
    assert!(configured.status.success(), "{}", String::from_utf8_lossy(&configured.stderr));
    let template = format!(
        "idle_heartbeats_soft: 0\nheartbeat_period: 5\nengine:\n  type: GlobusComputeEngine\n  max_workers_per_node: 1\n  \
         encrypted: false\n  address: 127.0.0.1\n{provider}"
    );
    std::fs::write(user.join("demo/user_config_template.yaml.j2"), template).unwrap();
    // The user endpoint is started with this environment, not with ours.
    std::fs::write(
        user.join("demo/user_environment.yaml"),
        format!(
            "PATH: {path}{}:/usr/bin:/bin\nHOME: {}\nLANG: C.UTF-8\nGLOBUS_SDK_ENVIRONMENT: local\n",
            bin.display(),
            home.display()
        ),
    )
    .unwrap();
    let log = std::fs::File::create(home.join("out")).unwrap();
    let mut command = run(&["start", "--debug", "demo"]);
    command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    Some(Family::new(command.spawn().unwrap(), home))
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

/// Everything that endpoint and broker have said, for a failing test.
pub fn told(folder: &Path) -> String {
    let mut text = String::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name == "out" || name.ends_with(".log") || name.contains("stderr") {
                let all = std::fs::read_to_string(&path).unwrap_or_default();
                let tail: Vec<&str> = all.lines().rev().take(40).collect();
                text += &format!(
                    "== {}\n{}\n",
                    path.display(),
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
        }
    }
    text
}

/// Writes a program.
pub fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
